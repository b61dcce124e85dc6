"""The settings of a start beside its layout: the cache's size, offloaded weights, replicas."""

import pytest

from tests.plan.tiny import tiny
from tulu_cli.plan.gpus import Gpu, parse_gpu
from tulu_cli.plan.read import built_in_config, model_of
from tulu_cli.plan.search import fewest_gpus, most_requests, plan_of
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.speed import bounds
from tulu_cli.plan.text import explanation, plan_text, ready_commands
from tulu_cli.plan.values import GIB, MIB, Verdict
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate, judge
from tulu_cli.text import gib

RULES = rules_of(NEWEST)
MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}


def tulu(size: str = "8B") -> Model:
    config = built_in_config(size, "RLVR")
    assert config is not None
    return model_of(size, config)


def planned(run: Run, gpu: str = "h100", model: Model | None = None) -> Estimate:
    return estimate(model or tulu(), parse_gpu(gpu)[0], run, RULES)


def test_a_cache_of_a_given_size_has_that_size_whatever_the_utilization() -> None:
    sizes = {
        planned(Run(8192, utilization=share, kv_cache_bytes=3 * GIB)).blocks.expected
        for share in (0.3, 0.9)
    }
    assert sizes == {3 * GIB // (16 * 32 * 2 * 8 * 128 * 2)}


def test_a_cache_of_a_given_size_must_fit_beside_the_rest() -> None:
    fits = planned(Run(8192, kv_cache_bytes=4 * GIB), "24GiB")
    assert judge(fits).verdict is Verdict.FITS
    rank = fits.tightest
    assert sum(fits.parts(rank).values()) == pytest.approx(24 * GIB, rel=0.001)
    over = judge(planned(Run(8192, kv_cache_bytes=12 * GIB), "24GiB"))
    assert over.verdict is Verdict.NOT
    assert "would be in use on a GPU of 24.00 GiB" in over.reason


def test_a_cache_of_a_given_size_may_be_too_small() -> None:
    judgement = judge(planned(Run(8192, kv_cache_bytes=512 * MIB)))
    assert judgement.reason.startswith("1 x 8,192 tokens need 1.00 GiB of KV cache, and 0.50 GiB")


def test_the_explanation_of_a_given_size_is_that_it_was_given() -> None:
    lines = explanation(planned(Run(8192, kv_cache_bytes=3 * GIB)), NEWEST)
    assert "each GPU: KV cache = 3.00 GiB, as asked for" in lines


def test_offloaded_weights_are_cache() -> None:
    plain, less = planned(Run(8192)), planned(Run(8192, offloaded_bytes=5 * GIB))
    assert plain.ranks[0].weights - less.ranks[0].weights == 5 * GIB
    assert less.ranks[0].kv.expected - plain.ranks[0].kv.expected == 5 * GIB
    assert planned(Run(8192, offloaded_bytes=99 * GIB)).ranks[0].weights == 0


def test_replicas_answer_as_many_requests_each() -> None:
    one, four = planned(Run(8192)), planned(Run(8192, Layout(data=4)))
    assert four.ranks == one.ranks
    assert most_requests(four) == 4 * most_requests(one)
    limit = most_requests(one)
    assert judge(four, 4 * limit).fits
    assert not judge(four, 4 * limit + 1).fits
    assert "of each replica" in judge(four).reason


def test_replicas_are_as_fast_as_one_for_its_share_of_the_users() -> None:
    one = bounds(planned(Run(8192)), 10)
    four = bounds(planned(Run(8192, Layout(data=4))), 40)
    assert one.decode_all is not None
    assert four.decode == one.decode
    assert four.decode_all == pytest.approx(4 * one.decode_all)


def test_the_fewest_gpus_are_those_of_all_replicas() -> None:
    gpu = parse_gpu("24GiB")[0]
    found = fewest_gpus(tulu(), gpu, Run(8192, Layout(data=3)), RULES)
    assert found is not None
    assert found.run.layout == Layout(1, 1, 3)


def test_more_gpus_are_offered_for_each_replica() -> None:
    plan = plan_of(planned(Run(131072, Layout(data=2)), "24GiB"))
    assert "-tp 2" in [change.option for change in plan.changes if "2 more GPUs" in change.cost]


def test_the_commands_carry_the_settings() -> None:
    run = Run(512, Layout(2, whole_experts=True), kv_cache_bytes=GIB, offloaded_bytes=GIB * 5 // 2)
    lines = ready_commands(planned(run, model=tiny(**MIXTRAL)), "org/name")
    (served,) = (line for line in lines if line.startswith("vllm serve"))
    assert (
        "--enable-expert-parallel --kv-cache-memory-bytes 1073741824 --cpu-offload-gb 2.5" in served
    )
    (ours,) = (line for line in lines if line.startswith("tulu serve"))
    assert "--engine-arg enable_expert_parallel=true" in ours
    assert "--engine-arg cpu_offload_gb=2.5" in ours


def test_several_replicas_are_vllms_own_server_and_its_script() -> None:
    lines = ready_commands(planned(Run(8192, Layout(2, data=4))), "org/name")
    assert [line.split()[:2] for line in lines] == [["tulu", "serve"], ["vllm", "serve"]]
    assert "--tensor-parallel-size 2 --data-parallel-size 4" in lines[0]


def test_a_server_that_stands_for_the_llm_class_has_its_batch() -> None:
    lines = ready_commands(planned(Run(8192, usage="llm")), "org/name")
    assert all("16384" in line for line in lines)


def test_the_layout_is_named() -> None:
    plan = plan_of(planned(Run(512, Layout(2, 2, 2, True)), model=tiny(**MIXTRAL)))
    assert (
        "8 x H100 (tensor parallel 2, pipeline parallel 2, data parallel 2, expert parallel)"
        in plan_text(plan, NEWEST, bars=False)
    )


def test_a_first_start_and_the_next_one_are_both_told() -> None:
    found = estimate(tulu(), parse_gpu("l4")[0], Run(8192), rules_of((0, 28, 0)))
    assert found.warm_blocks > found.blocks.expected
    text = plan_text(plan_of(found), (0, 28, 0), bars=False)
    assert (
        f"The next start, with a filled compile cache: {found.tokens(found.warm_blocks):,}" in text
    )
    assert f", compiling {gib(found.tightest.compiling.expected)}, " in text
    eager = estimate(tulu(), parse_gpu("l4")[0], Run(8192, eager=True), rules_of((0, 28, 0)))
    assert "compil" not in plan_text(plan_of(eager), (0, 28, 0), bars=False)


def test_what_fits_the_next_start_only_is_said() -> None:
    rules = rules_of((0, 28, 0))
    gpu = parse_gpu("l4")[0]
    found = estimate(tulu(), gpu, Run(8192), rules)
    between = found.tokens((found.blocks.expected + found.warm_blocks) // 2)
    judgement = judge(estimate(tulu(), gpu, Run(between), rules))
    assert judgement.verdict is Verdict.NOT
    assert judgement.reason.endswith(
        "the next start, with a filled compile cache, would have enough"
    )


def test_memory_that_is_the_machines_has_less_of_it() -> None:
    size = 120 * GIB
    card, shared = Gpu("x", size, size, capability=(8, 9)), Gpu("x", size, size, capability=(12, 1))
    run = Run(8192, max_num_seqs=64, max_num_batched_tokens=2048, eager=True)
    one, other = (estimate(tulu(), gpu, run, RULES).tightest for gpu in (card, shared))
    assert other.other.expected - one.other.expected == GIB
    assert other.other.low - one.other.low == GIB // 2


def test_sums_by_nccl_are_in_the_graphs_of_more_than_two_gpus_over_pcie() -> None:
    two, four = (planned(Run(8192, Layout(gpus)), "l40s").tightest.graphs for gpus in (2, 4))
    assert four.expected > 2 * two.expected
    assert two.high > 2 * two.expected  # two that cannot read one another's memory
    switched = planned(Run(8192, Layout(4)), "a100").tightest.graphs
    assert switched.high == switched.expected * 16 // 10
