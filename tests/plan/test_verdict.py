"""Verdicts, the nearest changes, and what is found."""

from dataclasses import replace

import pytest

from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import Gpu, parse_gpu
from tulu_cli.plan.read import built_in_config, model_of
from tulu_cli.plan.report import report
from tulu_cli.plan.search import (
    fewest_gpus,
    layout_for,
    least_utilization,
    longest_context,
    most_requests,
    plan_of,
)
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.speed import bounds
from tulu_cli.plan.text import explanation, plan_text, plans_text, ready_commands
from tulu_cli.plan.values import Verdict
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate, judge

RULES = rules_of(NEWEST)


def tulu(size: str) -> Model:
    config = built_in_config(size, "RLVR")
    assert config is not None
    return model_of(size, config)


def planned(size: str, gpu: str, run: Run) -> Estimate:
    return estimate(tulu(size), parse_gpu(gpu)[0], run, RULES)


def test_what_is_found_fits_and_one_more_does_not() -> None:
    plan = planned("8B", "24GiB", Run(131072))
    assert not judge(plan).fits
    length = longest_context(plan)
    assert 0 < length < 131072
    for tokens, fits in ((length, True), (length + plan.run.block_size, False)):
        run = plan.run._replace(max_model_len=tokens)
        assert judge(estimate(plan.model, plan.gpu, run, RULES)).fits is fits


def test_the_most_requests_fit_and_one_more_do_not() -> None:
    plan = planned("8B", "24GiB", Run(4096))
    most = most_requests(plan)
    assert judge(plan, most).fits
    assert not judge(plan, most + 1).fits


def test_the_least_utilization_fits_and_less_does_not() -> None:
    plan = planned("8B", "l40s", Run(8192))
    least = least_utilization(plan)
    assert least is not None
    for utilization, fits in ((least, True), (least - 0.01, False)):
        run = plan.run._replace(utilization=utilization)
        assert judge(estimate(plan.model, plan.gpu, run, RULES)).fits is fits


def test_the_fewest_gpus() -> None:
    plan = fewest_gpus(tulu("70B"), parse_gpu("h100")[0], Run(8192), RULES)
    assert plan is not None
    assert plan.run.layout == Layout(2)
    assert fewest_gpus(tulu("405B"), parse_gpu("2GiB")[0], Run(8192), RULES) is None


def changed(run: Run, option: str, value: str) -> Run:
    match option:
        case "--max-model-len":
            return run._replace(max_model_len=int(value))
        case "--kv-cache-dtype":
            return run._replace(kv_dtype=value)
        case "--max-num-seqs":
            return run._replace(max_num_seqs=int(value))
        case "--gpu-memory-utilization":
            return run._replace(utilization=float(value))
        case "-tp":
            return run._replace(layout=Layout(int(value)))
    assert option == "--enforce-eager"
    return run._replace(eager=True)


@pytest.mark.parametrize(
    ("size", "gpu", "run", "concurrency"),
    [
        ("8B", "rtx-3060", Run(8192), 1),
        ("8B", "24GiB", Run(131072), 1),
        ("8B", "24GiB", Run(8192), 40),
        ("70B", "h100", Run(8192), 1),
    ],
)
def test_each_change_that_is_offered_makes_it_fit(
    size: str, gpu: str, run: Run, concurrency: int
) -> None:
    plan = planned(size, gpu, run)
    assert not judge(plan, concurrency).fits
    changes = plan_of(plan, concurrency).changes
    assert changes
    for change in changes:
        option, _, value = change.option.partition(" ")
        again, requests = plan, concurrency
        if option == "--concurrency":
            requests = int(value)
        elif option == "--quantization":
            model = model_of(size, built_in_config(size, "RLVR") or {}, quantization=value)
            again = estimate(model, plan.gpu, plan.run, RULES)
        else:
            again = estimate(plan.model, plan.gpu, changed(plan.run, option, value), RULES)
        assert judge(again, requests).fits, change


def test_memory_that_others_hold_is_not_there() -> None:
    gpu, _ = parse_gpu("24GiB")
    busy = Gpu(gpu.name, gpu.total_bytes, gpu.total_bytes // 2)
    judgement = judge(estimate(tulu("8B"), busy, Run(8192), RULES))
    assert judgement.verdict is Verdict.NOT
    assert "other programs" in judgement.reason


def test_inside_the_uncertainty_is_tight() -> None:
    plan = planned("8B", "24GiB", Run(8192))
    between = (plan.blocks.low + plan.blocks.expected) // 2
    run = plan.run._replace(max_model_len=(between - 1) * plan.run.block_size)
    assert judge(estimate(plan.model, plan.gpu, run, RULES)).verdict is Verdict.TIGHT


@pytest.mark.parametrize(
    ("gpus", "nodes", "layout"),
    [(8, 1, Layout(8)), (8, 2, Layout(8, 2)), (3, 1, Layout(1, 3)), (6, 1, Layout(2, 3))],
)
def test_tensor_parallel_inside_a_node_and_stages_across(
    gpus: int, nodes: int, layout: Layout
) -> None:
    assert layout_for(tulu("70B").shape, gpus, nodes) == layout


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="80 layers"):
        layout_for(tulu("70B").shape, 1, 81)


def test_speed_is_bandwidth_over_bytes() -> None:
    plan = planned("8B", "h100", Run(8192))
    speed = bounds(plan)
    assert speed.decode == pytest.approx(3350e9 / (16.06e9 - 128264 * 4096 * 2), rel=0.01)
    assert bounds(planned("8B", "24GiB", Run(8192))).decode is None


def test_no_speed_is_promised_where_no_weight_is_multiplied_with() -> None:
    model = tulu("8B")
    embedding = replace(model, tensors=model.tensors[:1])
    speed = bounds(estimate(embedding, parse_gpu("h100")[0], Run(8192), RULES))
    assert (speed.decode, speed.decode_all, speed.prefill) == (None, None, None)


def test_the_longest_context_may_be_shorter_than_a_block() -> None:
    model = model_of(
        "short", (built_in_config("8B", "RLVR") or {}) | {"max_position_embeddings": 9}
    )
    assert longest_context(estimate(model, parse_gpu("h100")[0], Run(9), RULES)) == 9


@pytest.mark.parametrize("gpu", ["h100", "24GiB"])
def test_showing_a_plan_plans_nothing(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> None:
        raise AssertionError("a view has planned")

    plan = plan_of(planned("70B", gpu, Run(8192)))
    monkeypatch.setattr("tulu_cli.plan.search.estimate", again)
    monkeypatch.setattr("tulu_cli.plan.vllm.estimate", again)
    assert plan_text(plan, NEWEST, bars=True).startswith("70B on 1 x ")
    assert len(plans_text([plan, plan]).splitlines()) == 3
    assert report(plan)["longest_context"] == plan.longest_context
    assert explanation(plan.estimate, NEWEST)[0].startswith("requested = ")


def test_the_commands_carry_the_layout() -> None:
    plan = planned("70B", "h100", Run(8192, Layout(8, 2)))
    (line,) = ready_commands(plan, "org/name", nodes=2)
    assert line.startswith("tulu serve org/name ")
    assert line.endswith("--tensor-parallel-size 8 --pipeline-parallel-size 2 --nodes 2")
    packed = ready_commands(plan, "org/name", quantization="awq")
    assert packed[0].startswith("# with a checkpoint")
