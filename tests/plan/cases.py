"""The start-up logs of real vLLM runs, and what each needs to be planned again.

`data/vllm_memory_cases.json` holds the logs as they were found, with their sources;
`data/more_cases.json` further figures of one published report; `data/models.json` the part of each
model's config.json that counts. A log that lacks what the plan needs is left out, with the reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tulu_cli.plan.gpus import Gpu, find_card
from tulu_cli.plan.read import model_of
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import read_version, rules_of
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate

DATA = Path(__file__).parent / "data"
CONFIGS: dict[str, dict[str, Any]] = json.loads((DATA / "models.json").read_text())


@dataclass(frozen=True)
class Known:
    """What a log does not print but its model's config or its note says.

    `version` is only for a log that prints none. `partial` says why the memory left for the cache
    cannot be planned although the weights can.
    """

    config: str
    card: str | None = None
    version: str | None = None
    quantization: str | None = None
    partial: str | None = None


H100 = "h100"
_V019 = Known("llama-3.1-8b", H100)
KNOWN: dict[str, Known] = {
    **dict.fromkeys(
        (
            "llmd-v0.19-llama31-8b-h100-tp1-len2048",
            "llmd-v0.19-llama31-8b-h100-tp1-len4096",
            "llmd-v0.19-llama31-8b-h100-tp1-len8192",
            "llmd-v0.19-llama31-8b-h100-tp1-len32768",
            "llmd-v0.19-llama31-8b-h100-tp2",
            "llmd-v0.19-llama31-8b-h100-pp2",
            "llmd-v0.19-llama31-8b-h100-fp8kv",
        ),
        _V019,
    ),
    "llmd-v0.19-qwen25-7b-h100-tp2": Known("qwen2.5-7b", H100),
    "llmd-v0.19-qwen25-7b-h100-tp4": Known("qwen2.5-7b", H100),
    "llmd-bench-llama31-8b-h100-tp1": Known("llama-3.1-8b", H100, "0.11.0"),
    "llmd-bench-llama33-70b-fp8-h100-tp2": Known("llama-3.3-70b-fp8", H100, "0.11.0"),
    "llmd-bench-qwen3-32b-h100-tp1": Known("qwen3-32b", H100, "0.11.0"),
    "pr10511-llama3-8b-tp1": Known("llama-3-8b", H100, "0.6.5"),
    "pr10511-llama3-8b-tp2": Known("llama-3-8b", H100, "0.6.5"),
    "10517-llama31-8b-3090-20k": Known("llama-3.1-8b", "rtx-3090", "0.6.4"),
    "pr12569-llama31-70b-w8a8-tp1": Known(
        "llama-3.1-70b-w8a8", H100, "0.7.1", partial="the size of the GPU is not printed"
    ),
    "llama32-3b-gguf-q8-rtx4070l": Known("llama-3.2-3b", "rtx-4060", "0.7.2", "gguf-q8_0"),
    "eks-dsr1-distill-llama8b-a10g": Known(
        "llama-3.1-8b", "a10g", "0.7.2", partial="the context is not printed, and its default fails"
    ),
    "book-llama31-8b-79.14": Known("llama-3.1-8b", "a100", "0.6.4"),
    "llama3-8b-xformers-2358blocks": Known(
        "llama-3-8b", version="0.4.2", partial="the GPU is not printed"
    ),
    "llama3-8b-bentoml-27793": Known("llama-3-8b", version="0.4.2", partial="no GPU is printed"),
    "llama3-8b-rocm-navi-12003": Known("llama-3-8b", version="0.4.1", partial="no GPU is printed"),
    "issue6746-llama31-405b-fp8-8xh100": Known(
        "llama-3.1-405b-fbgemm-fp8-16kv", H100, "0.5.3", partial="the failure's text is not there"
    ),
    "unsloth-qwen25-0.5b": Known(
        "qwen2.5-0.5b-bnb4", version="0.9.2", partial="Unsloth sets what it does not print"
    ),
    "issue13061-dsr1-qwen14b-2x4090-fail": Known("qwen2.5-14b-distill", "rtx-4090", "0.7.2"),
    "rtxpro6000-llama31-70b-fp8-u090": Known("llama-3.1-70b", "rtx-pro-6000", quantization="fp8"),
    "hpi-llama33-70b-fp8-h100-32k": Known(
        "llama-3.3-70b-modelopt-fp8", H100, "0.11.0", partial="the utilization is not printed"
    ),
    "subgraphrag19-llama31-8b-3090-fail": Known("llama-3.1-8b", "rtx-3090", "0.6.3"),
    "vllm6689-llama31-8b-l4-1024": Known("llama-3.1-8b", "l4"),
    "t4-llama31-8b-bnb4-v0.7": Known(
        "llama-3.1-8b-bnb4", "t4", "0.7.2", partial="Unsloth sets what it does not print"
    ),
    "llama31-8b-gptq-v0.5.4-14774": Known(
        "llama-3.1-8b-gptq", version="0.5.4", partial="no GPU is printed"
    ),
    "12gb-llama3-8b-awq-0.95": Known(
        "llama-3-8b-awq", version="0.7.2", partial="the size of the GPU is not printed"
    ),
    "24gb-qwen3-8b-fp8-v0.10-0.11": Known("qwen3-8b-fp8", "rtx-4090", "0.10.2"),
}
# Figures of which only the cache's own arithmetic can be checked, and why.
CACHE_ONLY: dict[str, tuple[str, str]] = {
    "llmd-bench-mistral-small32-24b-h100": (
        "mistral-small-24b-text",
        "the batch is not printed; its weights are in test_family_logs.py",
    ),
    "vllm0.24-7b-qwen-class-8192": ("qwen2.5-7b", "neither the model nor the GPU is named"),
    "qwen2vl7b-like-24g": ("qwen2.5-7b", "a model that sees, and is not named"),
}
LEFT_OUT: dict[str, str] = {
    "vllm0.19.1-4b-class-32768": "neither the model nor the GPU is named",
    "pr12126-llama32-11b-vision-h100-eager": "V0 profiled it with 128 images, which no plan counts",
    "wiki-llama31-8b-eagle-h100": "a draft model is served beside it, and no size is printed",
    "openrlhf336-llama3-70b-8192-fail": "the GPU and the number of them are not there",
    "issue2418-llama2-alpaca-3664-fail": "the GPU is not there",
    "issue7553-yi34b-4x4090-cudagraph": "out of memory only under load, which is not a start",
    "porto-llama8b-gmem070-fail": "neither the model nor the GPU is named",
    "kaito2132-2xh100-fail": "Mistral-Small-4-119B is not known",
    "gpustack1897-dsr1-llama70b-106640": "the GPUs are not named",
    "8gb-sealion-8b-bnb-v0": "neither utilization nor GPU nor config is printed",
    "adr-awq-v0.28-warm-compile": "the model is not named",
    "adr-awq-v0.28-cold-compile": "the model is not named",
    "mi300x-0.28class-overheads": "the model is not named",
}


def log_cases() -> list[dict[str, Any]]:
    """The logs, each with what is known of it beside; the further report's rows follow."""
    found: list[dict[str, Any]] = json.loads((DATA / "vllm_memory_cases.json").read_text())
    return found


def report_cases() -> list[dict[str, Any]]:
    """The figures of the published report that no log of the first file has."""
    found: list[dict[str, Any]] = json.loads((DATA / "more_cases.json").read_text())
    return found


def case_model(known: Known, dtype: str | None = None) -> Model:
    return model_of(
        known.config,
        CONFIGS[known.config],
        quantization=known.quantization,
        dtype=dtype or "auto",
    )


def case_plan(case: Mapping[str, Any], known: Known) -> Estimate:
    """The plan for what a log says, with vLLM's own defaults for what it leaves out."""
    card = find_card(known.card) if known.card else None
    total = case["gpu_total_gib"] or (card.gib if card else 80)
    if known.card == "rtx-pro-6000":
        assert card is not None
        total = card.gib  # the log has what nvidia-smi says, of which PyTorch gets less
    size = int(total * GIB)
    positions = CONFIGS[known.config]["max_position_embeddings"]
    run = Run(
        max_model_len=case["max_model_len"] or positions,
        layout=Layout(case["tp"] or 1, case["pp"] or 1),
        utilization=case["gpu_memory_utilization"],
        kv_dtype=case["kv_cache_dtype"] or "auto",
        block_size=case.get("block_size") or 16,
        max_num_seqs=case.get("max_num_seqs"),
        max_num_batched_tokens=case.get("max_num_batched_tokens"),
        eager=bool(case.get("enforce_eager")),
    )
    version = read_version(case_version(case, known))
    dtype = case.get("dtype")
    return estimate(
        case_model(known, dtype),
        Gpu(known.card or "card", size, size, card),
        run,
        rules_of(version),
    )


def case_version(case: Mapping[str, Any], known: Known) -> str:
    """The release that the log prints, or the one that its note reasons it to be."""
    printed = str(case["vllm_version"] or "")
    return printed if printed[:1].isdigit() and not known.version else str(known.version)
