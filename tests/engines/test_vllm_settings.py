"""The arguments that vLLM is started with, and its reasons for not starting."""

from pathlib import Path
from typing import Any

import pytest

from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.vllm.settings import engine_arguments, invariance, load_error
from tulu_cli.engines.worker import last_error
from tulu_cli.errors import DoesNotFit, EngineError

# As vLLM and torch write them, a line each: vllm/v1/worker/utils.py, v1/worker/cpu_worker.py,
# v1/core/kv_cache_utils.py and v1/worker/gpu_model_runner.py of 0.32; the last is torch's.
MEMORY = Path(__file__).with_name("data").joinpath("memory_errors.txt").read_text().splitlines()


@pytest.mark.parametrize("line", MEMORY)
@pytest.mark.parametrize("prefix", ["", "(EngineCore pid=4242) ERROR 11-28 18:00:00 [core.py:1] "])
def test_memory_that_is_too_small_is_exit_3_with_the_whole_reason(line: str, prefix: str) -> None:
    log = f"Traceback (most recent call last):\n{prefix}{line}\n{prefix}RuntimeError: Engine core "
    log += "initialization failed. See root cause above. Failed core proc(s): {}\n"
    reason = last_error(log.encode())
    assert reason == line.rstrip(".")
    error = load_error("tulu", reason)
    assert isinstance(error, DoesNotFit)
    assert str(error) == f"tulu does not fit in memory: {line}"


def test_another_reason_is_none_of_memory() -> None:
    error = load_error("tulu", "ValueError: Unrecognized model in /models/tulu")
    assert isinstance(error, EngineError)
    assert not isinstance(error, DoesNotFit)


def arguments(**changes: Any) -> dict[str, Any]:
    tokenizer: Any = None
    return engine_arguments(EngineSpec("demo", Path("demo"), tokenizer, 2048, **changes))


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_deterministic_engine_keeps_no_prefix_and_no_company_that_counts(device: str) -> None:
    usual, asked = arguments(device=device), arguments(device=device, deterministic=True)
    assert (usual["enable_prefix_caching"], asked["enable_prefix_caching"]) == (True, False)
    assert "max_num_seqs" not in usual
    on_gpu = device != "cpu"
    assert asked.get("max_num_seqs") == (None if on_gpu else 1)
    variable = {"VLLM_BATCH_INVARIANT": "1"} if on_gpu else {}
    assert invariance(device, deterministic=True) == variable
    assert invariance(device, deterministic=False) == {}


def test_a_one_shot_on_several_gpus_does_not_ask_cuda_in_its_own_process() -> None:
    assert "compilation_config" not in arguments(device="cuda:0")
    asked = arguments(device="cuda:0", tensor_parallel_size=2)["compilation_config"]
    assert asked == {"pass_config": {"fuse_allreduce_rms": False}}
    served = arguments(device="cuda:0", tensor_parallel_size=2, purpose="server")
    assert "compilation_config" not in served


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"mode": 3}, {"pass_config": {"fuse_allreduce_rms": False}, "mode": 3}),
        (
            {"pass_config": {"fuse_norm_quant": True}},
            {"pass_config": {"fuse_allreduce_rms": False, "fuse_norm_quant": True}},
        ),
        (
            {"pass_config": {"fuse_allreduce_rms": True}},
            {"pass_config": {"fuse_allreduce_rms": True}},
        ),
        (3, 3),
    ],
)
def test_an_argument_of_the_users_own_wins_and_ours_stay_beside_it(
    own: object, expected: object
) -> None:
    given = {"compilation_config": own, "kv_cache_memory_bytes": 7}
    made = arguments(device="cuda:0", tensor_parallel_size=2, engine_args=given)
    assert made["compilation_config"] == expected
    assert made["kv_cache_memory_bytes"] == 7
