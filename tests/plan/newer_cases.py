"""Newer start-up logs of vLLM, each with its model's config and the options that stand for it.

`data/vllm_memory_cases_2.json` grades them: A if release, GPU and settings are printed or that
release's defaults, B if one thing is inferred and the log's own figures agree, C if it is a hint.
"""

import json
from collections.abc import Mapping
from typing import Any

from tests.plan.cases import DATA
from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.read import model_of
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import read_version, rules_of
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate

# The GPUs that these logs are of, where the options name only a size.
_GPUS = {
    "mistral-7b-gptq-gb10-v011": "gb10",
    "llama31-8b-thor-v0102": "thor",
    "q25-7b-awq-4080-wsl-v026": "rtx-4080",
    "q25-7b-awq-4070laptop-wsl": "rtx-4070-laptop",
    "q25-15b-turing-v0281": "quadro-rtx-6000",
}
_WHOLE_EXPERTS = {"q3-235b-fp8-8xl40s-ep-v0102"}


def newer_cases() -> dict[str, dict[str, Any]]:
    """The logs of vLLM by their ids."""
    found = json.loads((DATA / "vllm_memory_cases_2.json").read_text())
    return {case["id"]: case for case in found if case.get("engine") != "transformers"}


def newer_model(case: Mapping[str, Any]) -> Model:
    """The model of a log; a TuluError says what the planner does not know."""
    options = case["plan"]["extra"]
    dtype = options[options.index("--dtype") + 1] if "--dtype" in options else "auto"
    return model_of(case["id"], case["config"], dtype=dtype)


def newer_plan(case: Mapping[str, Any]) -> Estimate:
    """The plan for what a log says, with vLLM's own defaults for what it leaves out."""
    chosen = case["plan"]
    gpu, _ = parse_gpu(_GPUS.get(case["id"], chosen["gpu"]))
    if total := case["gpu_total_gib"]:
        gpu = gpu._replace(total_bytes=int(total * GIB), free_bytes=int(total * GIB))
    layout = Layout(case["tp"] or 1, case["pp"] or 1, whole_experts=case["id"] in _WHOLE_EXPERTS)
    run = Run(
        max_model_len=case["max_model_len"],
        layout=layout,
        utilization=case["gpu_memory_utilization"],
        kv_dtype=case["kv_cache_dtype"],
        block_size=case["block_size"],
        max_num_seqs=chosen["max_num_seqs"],
        max_num_batched_tokens=chosen["max_num_batched_tokens"],
        eager=case["enforce_eager"],
    )
    rules = rules_of(read_version(chosen["vllm_version"]))
    return estimate(newer_model(case), gpu, run, rules)
