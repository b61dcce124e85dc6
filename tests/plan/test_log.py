"""Start-up logs of vLLM: what is read of them, and how they differ from a plan.

The lines in data/logs are those of the sources of the release that each file is named after.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plan.cases import DATA
from tulu_cli.plan.adapters import Slots
from tulu_cli.plan.compare import Comparison, compare
from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.log import Log, read_log
from tulu_cli.plan.read import built_in_config, model_of
from tulu_cli.plan.search import plan_of
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import rules_of
from tulu_cli.plan.vllm import Drafting, Estimate, Run, estimate

LOGS = DATA / "logs"
V028 = (LOGS / "v0.28.0.log").read_text()
V033 = (LOGS / "v0.33.0.log").read_text()
V011 = (LOGS / "v0.11.0.log").read_text()
V0 = (LOGS / "v0.6.5.log").read_text()


def gib(size: float) -> int:
    return int(size * GIB)


def test_the_figures_of_a_start_with_consumed_memory() -> None:
    log = read_log(V028)
    assert log == Log(
        version=(0, 28, 0),
        model="allenai/Llama-3.1-Tulu-3-8B",
        settings={
            "max_model_len": 8192,
            "gpu_memory_utilization": 0.9,
            "max_num_seqs": 64,
            "max_num_batched_tokens": 4096,
            "dtype": "bfloat16",
            "tensor_parallel_size": 2,
            "pipeline_parallel_size": 1,
            "data_parallel_size": 1,
            "enforce_eager": False,
            "kv_cache_dtype": "fp8",
        },
        beyond=["a draft model", "adapters"],
        total=gib(44.39),
        free=gib(43.9),
        weights=[gib(7.51), gib(7.5)],
        consumed=gib(7.9),
        activation=gib(0.81),
        graphs=gib(0.61),
        kv_cache=[gib(31.24)],
        tokens=1_023_600,
        concurrency=124.95,
        compiled=False,
    )


def test_tokens_and_concurrency_on_one_line() -> None:
    log = read_log(V033)
    assert (log.tokens, log.concurrency) == (75_824, 1.85)
    assert log.settings == {"max_model_len": 40_960}


def test_a_start_that_failed() -> None:
    log = read_log(V011)
    assert log.failure == "one request needs more KV cache than there is"
    assert (log.needed, log.kv_cache) == (16 * GIB, [gib(4.12), gib(4.12)])
    assert (log.quantization, log.compiled) == ("awq", True)
    assert log.settings["enforce_eager"] is True


def test_the_figures_of_v0() -> None:
    log = read_log(V0)
    assert log.version == (0, 6, 5)
    assert (log.total, log.non_torch, log.activation) == (gib(79.22), gib(1.79), gib(1.26))
    assert (log.weights, log.kv_cache) == ([gib(14.9595), gib(14.96)], [gib(53.29)])
    assert (log.tokens, log.graphs) == (27284 * 16, gib(0.26))
    assert log.settings["gpu_memory_utilization"] == 0.9


def test_the_three_parts_of_0_19_to_0_26() -> None:
    line = (
        "Free memory on device cuda:0 (15.1/15.99 GiB) on startup. Desired GPU memory utilization "
        "is (0.9, 14.39 GiB). Actual usage is 5.29 GiB for weight, 1.04 GiB for peak activation, "
        "0.06 GiB for non-torch memory, and 0.48 GiB for CUDAGraph memory."
    )
    log = read_log(line)
    assert (log.activation, log.non_torch, log.total) == (gib(1.04), gib(0.06), gib(15.99))


def test_the_last_of_several_starts_counts() -> None:
    log = read_log(V011 + V028)
    assert log == read_log(V028)
    assert read_log(V028 + V011) == read_log(V011)


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        (
            "ValueError: No available memory for the cache blocks. Try increasing",
            "no memory was left for the KV cache",
        ),
        (
            (
                "ValueError: Free memory on device cuda:0 (3.1/23.5 GiB) on startup is less than "
                "desired GPU memory utilization (0.9, 21.2 GiB)."
            ),
            "other programs held the memory",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", "the GPU ran out of memory"),
        ("INFO started", None),
    ],
)
def test_how_a_start_ended(line: str, failure: str | None) -> None:
    assert read_log(line).failure == failure


@pytest.mark.parametrize("text", ["", "hello\n", "INFO Using max model len 8192\n"])
def test_a_text_without_figures_is_empty(text: str) -> None:
    assert read_log(text).is_empty


# As vLLM 0.32 printed them on a CPU, with VLLM_CPU_KVCACHE_SPACE=1 beside the argument.
ON_A_CPU = """\
INFO [api_utils.py:286] non-default args: {'model': 'demo', 'kv_cache_memory_bytes': 2147483648}
INFO [cpu_worker.py:260] Explicitly set (1.0/15.46) GiB for KV cache on node 0.
INFO [kv_cache_utils.py:2327] CPU KV cache size: 8,192 tokens, \
Maximum concurrency for 8,192 tokens per request: 1.00x
"""


def test_a_start_on_a_cpu_has_the_cache_that_it_took() -> None:
    log = read_log(ON_A_CPU)
    assert (log.cpu, log.kv_cache, log.total) == (True, [GIB], gib(15.46))
    assert log.settings["kv_cache_memory_bytes"] == GIB
    said = compare(log, plan_of(planned(kv_cache_bytes=GIB)))
    assert said.reasons == (
        "The log is of vLLM on a CPU, of which no plan counts more than weights and KV cache.",
    )
    assert said.agrees is None


def test_a_log_that_ends_too_early_is_said_to() -> None:
    said = compared(planned(), tokens=None)
    assert (said.ended, said.reasons) == (None, ("The log ends before the start did.",))


def test_a_log_of_another_model_is_not_held_against_the_verdict() -> None:
    said = compared(planned(), weights=[GIB], model="mine/3b", kv_cache=[90 * GIB])
    (reason,) = said.reasons
    assert "15.0 times" in reason
    assert reason.endswith("(planned: none; the log names 'mine/3b').")
    assert (said.ended, said.agrees) == ("it started", None)


@pytest.mark.parametrize(
    "line",
    [
        f"Model loading took {'9' * 400} GiB",
        "KV cache size: ,,, tokens",
        f"# GPU blocks: {'9' * 5000}",
        "Maximum concurrency for 0 tokens per request: 1.2.3x",
        "with config: tensor_parallel_size=0, gpu_memory_utilization=nan, max_seq_len=-1",
    ],
)
def test_numbers_that_cannot_be_are_left_out(line: str) -> None:
    log = read_log(line)
    assert log.is_empty
    assert not log.settings


@given(st.text() | st.lists(st.sampled_from(V028.split() + V0.split())).map(" ".join))
def test_no_text_breaks_the_reader(text: str) -> None:
    read_log(text)


def planned(version: tuple[int, int, int] = (0, 28, 0), **changes: object) -> Estimate:
    config = built_in_config("8B", "RLVR")
    assert config is not None
    run = Run(8192)._replace(**changes)  # type: ignore[arg-type]
    return estimate(model_of("8b", config), parse_gpu("l40s")[0], run, rules_of(version))


def compared(found: Estimate, **changes: object) -> Comparison:
    """What is said of a log that has the plan's own figures but for `changes`."""
    rank = found.tightest
    log = Log(weights=[rank.weights], kv_cache=[rank.kv.expected])
    log.tokens = found.tokens(found.blocks.expected)
    return compare(replace(log, **changes), plan_of(found))  # type: ignore[arg-type]


def test_a_log_that_is_as_planned_needs_no_reason() -> None:
    said = compared(planned())
    assert [row.name for row in said.rows] == ["weights", "KV cache", "KV cache tokens"]
    assert all(row.difference == 0 for row in said.rows)
    assert (said.ended, said.agrees, said.reasons) == ("it started", True, ())


def test_a_difference_inside_the_rounding_is_none() -> None:
    found = planned()
    near = found.tightest.weights + GIB // 250
    assert compared(found, weights=[near], kv_cache=[found.tightest.kv.expected]).reasons == ()


def test_a_start_with_compiled_kernels_is_explained_by_them() -> None:
    found = planned()
    warm = found.tightest.kv.expected + found.tightest.compiling.expected
    tokens = found.tokens(found.warm_blocks)
    for compiled in (None, False):
        (reason,) = compared(found, kv_cache=[warm], tokens=tokens, compiled=compiled).reasons
        assert "compiled kernels were in the cache" in reason
        assert "100.0 % of the log's" in reason
        assert ("it seems" in reason) is (compiled is None)
    reasons = compared(found, kv_cache=[warm], tokens=tokens, compiled=True).reasons
    assert not any("compiled kernels" in reason for reason in reasons)


def test_weights_of_another_data_type() -> None:
    found = planned()
    reasons = compared(found, weights=[found.tightest.weights // 2], quantization="fp8").reasons
    assert "2.0 times" in reasons[0]
    assert "planned: none; the log names 'fp8'" in reasons[0]


def test_weights_of_something_beside() -> None:
    found = planned()
    reasons = compared(found, weights=[found.tightest.weights + GIB]).reasons
    assert reasons[0].startswith("The weights differ: modules that stay plain")


def test_a_cache_of_another_data_type() -> None:
    found = planned()
    reasons = compared(found, tokens=2 * found.tokens(found.blocks.expected)).reasons
    assert "--kv-cache-dtype" in reasons[0]


def test_memory_that_neither_explains_is_put_a_figure_on() -> None:
    found = planned()
    less = found.tightest.kv.expected - 3 * GIB
    cache = found.caches[0]
    tokens = found.tokens(less // cache.block_bytes)
    (reason,) = compared(found, kv_cache=[less], tokens=tokens, compiled=True).reasons
    assert reason.startswith("Beside weights and KV cache the start took ")


def test_the_part_that_differs_most_is_named() -> None:
    found = planned((0, 22, 1), eager=True)
    rank = found.tightest
    less = rank.kv.expected - 2 * GIB
    reasons = compared(
        found,
        kv_cache=[less],
        tokens=found.tokens(less // found.caches[0].block_bytes),
        activation=rank.activation.expected + 2 * GIB,
        non_torch=rank.other.expected,
    ).reasons
    assert reasons == ("Most of it is in peak activation: 2.00 GiB more than planned.",)


def test_consumed_memory_is_compared_with_all_but_the_cache() -> None:
    found = planned((0, 29, 0))
    rank = found.tightest
    taken = found.requested - rank.kv.expected
    said = compared(found, consumed=taken - GIB, activation=GIB)
    (row,) = (row for row in said.rows if row.name == "consumed and peak")
    assert abs(row.logged - row.planned) <= 1


def test_what_no_plan_counts_is_named() -> None:
    reasons = compared(planned(), beyond=["a draft model", "adapters"]).reasons
    said = "The log has a draft model, adapters, whose memory this plan does not count."
    assert reasons == (said,)


@pytest.mark.parametrize("version", [(0, 28, 0), (0, 32, 0)])
def test_a_draft_and_adapters_are_loaded_with_the_model(version: tuple[int, int, int]) -> None:
    slots = Slots(2, 16, ("q_proj", "o_proj"))
    found = planned(version, drafting=Drafting(4, planned().model), adapters=slots)
    rank = found.tightest
    assert rank.draft > rank.adapters > 0
    loaded = rank.weights + rank.draft + rank.adapters
    taken = found.requested - rank.kv.expected
    beyond = ["a draft model", "adapters"]
    said = compared(found, weights=[loaded], consumed=taken - GIB, activation=GIB, beyond=beyond)
    assert all(abs(row.logged - row.planned) <= 1 for row in said.rows)
    assert said.reasons == ()


@pytest.mark.parametrize(
    "line",
    [
        "non-default args: {'speculative_config': {'num_spec': 4, 'method': 'ngram'}}",
        "with config: dtype=x, speculative_config=SpeculativeConfig(method='ngram', model=None)",
    ],
)
def test_n_grams_are_not_a_draft_model(line: str) -> None:
    log = read_log(line)
    assert (log.beyond, log.ngrams) == ([], True)
    (reason,) = compared(planned(), ngrams=True).reasons
    assert reason == "The log has a draft of n-grams, which --draft ngram plans for."
    assert compared(planned(drafting=Drafting(4)), ngrams=True).reasons == ()


@pytest.mark.parametrize(
    ("failure", "max_model_len", "agrees"),
    [(None, 8192, True), ("no memory", 8192, False), ("no memory", 10**7, True)],
)
def test_the_verdict_is_held_to_the_end(
    failure: str | None, max_model_len: int, agrees: bool
) -> None:
    said = compared(planned(max_model_len=max_model_len), failure=failure)
    assert said.agrees is agrees
