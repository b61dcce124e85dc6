"""The plan against newer start-up logs of real vLLM runs. `pytest -s` prints the tables."""

import statistics
from typing import Any

import pytest

from tests.plan.newer_cases import newer_cases, newer_model, newer_plan
from tests.plan.test_vllm_cases import Errors, error, mean_absolute, show
from tulu_cli.plan.log import read_log
from tulu_cli.plan.values import GIB
from tulu_cli.plan.vllm import Estimate, judge

LOGS = newer_cases()
ROUNDING = 0.0051 * GIB
# A second start with one command, whose kernels were in the compile cache.
WARM = "q3-14b-awq-l4-v028-second"
# Its 238,208 tokens of 48,128 bytes are 10.68 GiB, and it prints 10.65 GiB.
TOO_MANY_TOKENS = "q3-235b-fp8-8xl40s-ep-v0102"
# Logs whose settings are known, of models that the first file of cases has no like of.
KNOWN = {
    key: case
    for key, case in LOGS.items()
    if case["grade"] in "AB" and "missing" not in case["checks"]
}


@pytest.fixture(scope="module")
def plans() -> dict[str, Estimate]:
    return {key: newer_plan(case) for key, case in KNOWN.items()}


def by_release(errors: Errors) -> None:
    """Print the errors of each release, the worst first."""
    releases: dict[str, Errors] = {}
    for key, value in errors.items():
        releases.setdefault(str(LOGS[key]["vllm_version"]), {})[key] = value
    for release in sorted(releases, key=lambda name: -mean_absolute([*releases[name].values()])):
        show(f"vLLM {release}", releases[release])


def test_every_log_of_a_known_grade_is_planned(plans: dict[str, Estimate]) -> None:
    assert len(plans) >= 15
    assert sum(case["grade"] == "A" for case in KNOWN.values()) >= 10


def test_weights_are_within_half_a_per_cent(plans: dict[str, Estimate]) -> None:
    errors = {
        key: error(plans[key].ranks[0].weights / GIB, case["weights_gib_per_gpu"])
        for key, case in KNOWN.items()
        if case["weights_gib_per_gpu"] and "weights" in case["checks"]
    }
    show("weights", errors)
    assert len(errors) >= 12
    assert max(map(abs, errors.values())) <= 0.5


def test_weights_of_hints_are_within_half_a_per_cent() -> None:
    """What a hint lacks is of its cache; `checks` says where its weights count too."""
    errors = {}
    for key, case in LOGS.items():
        if case["grade"] == "C" and case["weights_gib_per_gpu"] and "weights" in case["checks"]:
            errors[key] = error(
                newer_plan(case).ranks[0].weights / GIB, case["weights_gib_per_gpu"]
            )
    show("weights of hints", errors)
    assert len(errors) >= 10
    assert max(map(abs, errors.values())) <= 0.5


def test_the_kv_cache_is_within_two_per_cent_and_never_optimistic(
    plans: dict[str, Estimate],
) -> None:
    errors = {
        key: error(plans[key].tightest.kv.expected / GIB, case["kv_cache_gib_per_gpu"])
        for key, case in KNOWN.items()
        if case["kv_cache_gib_per_gpu"] and "kv" in case["checks"] and key != WARM
    }
    by_release(errors)
    assert len(errors) >= 13
    assert mean_absolute(list(errors.values())) <= 2
    assert statistics.mean(errors.values()) <= 0.5
    assert max(map(abs, errors.values())) <= 4
    assert max(errors.values()) <= 2


def test_a_start_with_a_filled_compile_cache_is_planned_beside_the_first(
    plans: dict[str, Estimate],
) -> None:
    plan = plans[WARM]
    (cache,) = plan.caches
    warm = plan.warm_blocks * cache.block_bytes / GIB
    assert error(warm, LOGS[WARM]["kv_cache_gib_per_gpu"]) == pytest.approx(0, abs=2)
    assert plan.blocks.low < plan.blocks.expected < plan.warm_blocks <= plan.blocks.high


def test_each_printed_cache_is_inside_the_range(plans: dict[str, Estimate]) -> None:
    for key, plan in plans.items():
        if (printed := KNOWN[key]["kv_cache_gib_per_gpu"]) and "kv" in KNOWN[key]["checks"]:
            low, high = plan.tightest.kv.low, plan.tightest.kv.high
            assert low - ROUNDING <= printed * GIB <= high + ROUNDING, key


def test_the_printed_memory_makes_the_printed_tokens(plans: dict[str, Estimate]) -> None:
    """Blocks are whole, and the memory is rounded to 0.01 GiB in the log."""
    checked = 0
    for key, plan in plans.items():
        case = KNOWN[key]
        if not (case["kv_tokens"] and case["kv_cache_gib_per_gpu"]) or key == TOO_MANY_TOKENS:
            continue
        cache = plan.caches[plan.tightest.stage]
        size = case["kv_cache_gib_per_gpu"] * GIB
        tokens = plan.tokens(int(size) // cache.block_bytes)
        slack = ROUNDING / size * case["kv_tokens"] + 3 * plan.run.block_size
        assert abs(tokens - case["kv_tokens"]) <= slack, key
        checked += 1
    assert checked >= 13


@pytest.mark.parametrize("key", [key for key in KNOWN if KNOWN[key]["outcome"]])
def test_the_verdict_is_what_happened(key: str, plans: dict[str, Estimate]) -> None:
    judgement = judge(plans[key])
    print(f"{key}: {judgement.verdict}; {judgement.reason}")
    assert judgement.fits == KNOWN[key]["outcome"].startswith("ok")


@pytest.mark.parametrize(
    "key", ["q3-14b-awq-5090-u70", "q3-32b-awq-5090-u85", "q25-7b-awq-4080-wsl-v026"]
)
def test_the_graphs_of_runner_2_are_their_nodes_and_buffers(key: str) -> None:
    planned = newer_plan(LOGS[key]).tightest.graphs
    assert planned.expected / GIB == pytest.approx(LOGS[key]["cuda_graph_gib"], abs=0.12)
    assert planned.low <= LOGS[key]["cuda_graph_gib"] * GIB <= planned.high


def test_gb10_has_the_small_defaults_of_its_logs(plans: dict[str, Estimate]) -> None:
    plan = plans["mistral-7b-gptq-gb10-v011"]
    assert (plan.sequences, plan.batched) == (256, 2048)


def test_the_head_and_the_embeddings_of_qwen_experts_are_on_each_stage() -> None:
    case = LOGS["q3-30b-2507-gh200-tp4pp2-v0101"]
    for rank in newer_plan(case).ranks:
        assert rank.weights / GIB == pytest.approx(case["weights_gib_per_gpu"], rel=0.001)


def test_whole_experts_and_parts_of_them_weigh_the_same(plans: dict[str, Estimate]) -> None:
    case = LOGS["q3-235b-fp8-8xl40s-ep-v0102"]
    plan = plans[case["id"]]
    assert plan.run.layout.whole_experts
    assert plan.ranks[0].weights / GIB == pytest.approx(case["weights_gib_per_gpu"], rel=0.001)


@pytest.mark.parametrize("key", [key for key in LOGS if LOGS[key].get("quote")])
def test_the_figures_of_a_log_are_read_as_they_were_written_down(key: str) -> None:
    case: dict[str, Any] = LOGS[key]
    log = read_log(case["quote"])
    for found, field in (
        (log.weights, "weights_gib_per_gpu"),
        (log.kv_cache, "kv_cache_gib_per_gpu"),
    ):
        if found:
            assert found[-1] / GIB == pytest.approx(case[field], abs=0.005)
    assert log.tokens in (None, case["kv_tokens"])


def test_each_model_of_a_hint_is_known() -> None:
    assert all(
        newer_model(case).tensors for case in LOGS.values() if "missing" not in case["checks"]
    )
