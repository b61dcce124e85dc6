"""The groups, pages and blocks of the cache, against vLLM's own functions for them.

vLLM is asked in a process of its own, with the specification that each layer of a model makes.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.plan.test_families import CASES, built, named
from tests.program import DEADLINE_SECONDS, environment
from tulu_cli.plan.architectures import read_shape
from tulu_cli.plan.kv import Cache, cache_of
from tulu_cli.plan.shape import Keys, Shape, State, Vector
from tulu_cli.plan.sharding import Layout

pytestmark = pytest.mark.vllm

TOKENS, BATCHED = 3000, 512
NAMES = (
    *("LlamaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "GptOssForCausalLM"),
    *("Olmo3ForCausalLM", "Cohere2ForCausalLM", "Llama4ForCausalLM", "DeepseekV3ForCausalLM"),
    *("Qwen3NextForCausalLM", "Qwen3_5ForCausalLM", "GraniteMoeHybridForCausalLM"),
    *("NemotronHForCausalLM", "FalconH1ForCausalLM", "Lfm2ForCausalLM", "JambaForCausalLM"),
    *("Gemma4ForCausalLM", "Gemma4ForCausalLM-1", "OlmoHybridForCausalLM", "BambaForCausalLM"),
)


def shapes() -> dict[str, Shape]:
    """The shapes of small models with more layers, which make several groups."""
    found = {}
    for name, (architecture, kind, changes) in zip(named(CASES), CASES, strict=True):
        if name in NAMES:
            config, _ = built(architecture, kind, changes | {"sliding_window": 64})
            found[name] = read_shape(config | {"torch_dtype": "bfloat16"}, name)
    return found


def specification(kept: Any, gpus: int) -> dict[str, Any]:
    """What vLLM is told of a layer's cache."""
    if isinstance(kept, State):
        groups = kept.groups if kept.groups % gpus == 0 else gpus
        channels = (kept.channels + groups * kept.group_channels) // gpus
        sizes = [[kept.kernel - 1, channels], [kept.recurrent // gpus]]
        return {"kind": "state", "shapes": sizes, "dtype": kept.recurrent_dtype or "bfloat16"}
    if isinstance(kept, Vector):
        return {"kind": "latent", "size": kept.size}
    assert isinstance(kept, Keys)
    heads = max(1, kept.heads // gpus)
    found = {"heads": heads, "size": kept.size, "value_size": kept.value_size}
    if kept.window:
        return found | {"kind": "window", "window": kept.window}
    if kept.chunk:
        return found | {"kind": "chunk", "chunk": kept.chunk}
    return found | {"kind": "full"}


def planned(shape: Shape, gpus: int) -> Cache:
    (cache,) = cache_of(shape, Layout(gpus), dtype="bfloat16", block_size=16)
    return cache


@pytest.fixture(scope="module")
def asked() -> dict[tuple[str, int], tuple[Cache, dict[str, Any]]]:
    """Of each model on one GPU and on two, the plan and what vLLM answers."""
    lines, plans = [], {}
    for name, shape in shapes().items():
        for gpus in (1, 2):
            cache = planned(shape, gpus)
            plans[name, gpus] = cache
            layers = [
                specification(one, gpus) | {"layer": f"{index}.{place}"}
                for index, layer in enumerate(shape.decoder)
                for place, one in enumerate(layer.kept)
            ]
            case = {"layers": layers, "tokens": TOKENS, "batched": BATCHED}
            case |= {"latent": shape.latent is not None}
            lines.append(json.dumps(case))
    done = subprocess.run(
        [sys.executable, "-m", "tests.plan.vllm_groups"],
        input="\n".join(lines).encode(),
        capture_output=True,
        env=environment({"PYTHONPATH": str(Path(__file__).parents[2])}),
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]
    return {
        key: (cache, answer) for (key, cache), answer in zip(plans.items(), answers, strict=True)
    }


@pytest.mark.parametrize("gpus", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_groups_and_blocks_are_those_of_vllm(
    name: str, gpus: int, asked: dict[tuple[str, int], tuple[Cache, dict[str, Any]]]
) -> None:
    cache, answer = asked[name, gpus]
    assert len(cache.groups) == answer["groups"]
    assert cache.block_bytes == answer["block_bytes"]
    assert cache.block_size == answer["block_size"]
    assert cache.request_blocks(TOKENS, BATCHED) == answer["request_blocks"]
