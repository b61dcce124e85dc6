"""The rules of each release."""

import pytest

from tests.plan.tiny import tiny
from tulu_cli.errors import UsageError
from tulu_cli.plan.activation import Batch, has_second_runner
from tulu_cli.plan.gpus import Gpu, parse_gpu
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import (
    CHANGES,
    NEWEST,
    Rules,
    newer_than_known,
    read_version,
    rules_of,
    sources,
)
from tulu_cli.plan.vllm import Drafting, Run, batch_defaults, estimate, graph_bytes


def test_every_change_names_a_rule_and_its_source_in_order_of_release() -> None:
    names = set(Rules._fields)
    assert {name for _, name, _, _ in CHANGES} <= names
    assert all(source for *_, source in CHANGES)
    assert [change[0] for change in CHANGES] == sorted(change[0] for change in CHANGES)


@pytest.mark.parametrize(
    ("version", "utilization", "graphs", "engine"),
    [
        ("0.5.3.post1", 0.9, False, 0),
        ("0.8.5", 0.9, False, 1),
        ("0.19.1", 0.9, False, 1),
        ("v0.20.0", 0.9, True, 1),
        ("0.32.0+cpu", 0.92, True, 1),
    ],
)
def test_rules_change_with_the_release(
    version: str, utilization: float, graphs: bool, engine: int
) -> None:
    rules = rules_of(read_version(version))
    assert (rules.utilization, rules.graphs_in_budget, rules.engine) == (
        utilization,
        graphs,
        engine,
    )


@pytest.mark.parametrize("text", ["", "latest", "one.two", "-1.0"])
def test_a_text_that_is_no_release(text: str) -> None:
    with pytest.raises(UsageError, match="--vllm-version"):
        read_version(text)


def test_each_rule_is_said_with_its_source() -> None:
    lines = sources(NEWEST)
    assert len(lines) == len(Rules._fields)
    assert any("utilization = 0.92 (since 0.25.0" in line for line in lines)


def test_the_newest_release_plans_by_a_row_of_its_own() -> None:
    assert max(since for since, *_ in CHANGES) == NEWEST


@pytest.mark.parametrize("version", [(0, 5, 3), NEWEST])
def test_a_known_release_needs_no_word(version: tuple[int, int, int]) -> None:
    assert newer_than_known(version) is None


def test_a_newer_release_is_said_to_be_planned_as_the_newest_known() -> None:
    major, minor, patch = NEWEST
    said = newer_than_known((major, minor, patch + 1))
    assert said == (
        f"vLLM {major}.{minor}.{patch + 1} is newer than any release known here: "
        f"planned as {major}.{minor}.{patch}."
    )


@pytest.mark.parametrize(
    ("gpu", "version", "expected"),
    [
        ("gb10", (0, 11, 0), (256, 2048)),
        ("gb10", (0, 33, 0), (256, 2048)),
        ("thor", (0, 10, 2), (256, 2048)),
        ("h100", (0, 33, 0), (1024, 8192)),
        ("rtx-pro-6000", (0, 33, 0), (1024, 8192)),
        ("b200", (0, 33, 0), (1024, 16384)),
        ("b200", (0, 28, 0), (1024, 16384)),
        ("b200", (0, 27, 1), (1024, 8192)),
        ("rtx-4090", (0, 33, 0), (256, 2048)),
    ],
)
def test_the_defaults_of_a_server(
    gpu: str, version: tuple[int, int, int], expected: tuple[int, int]
) -> None:
    assert batch_defaults(Run(8192), parse_gpu(gpu)[0], rules_of(version)) == expected


def test_a_card_without_a_row_has_the_defaults_of_its_compute_capability() -> None:
    unnamed = Gpu("NVIDIA GB10-B", 121 * GIB, 121 * GIB, capability=(12, 1))
    assert batch_defaults(Run(8192), unnamed, rules_of((0, 33, 0))) == (256, 2048)


@pytest.mark.parametrize(
    ("gpu", "version", "expected"),
    [
        ("h100", (0, 7, 3), 8192),  # V0 asks not who starts it
        ("h100", (0, 33, 0), 16384),
        ("a100", (0, 33, 0), 8192),
        ("rtx-4090", (0, 33, 0), 8192),
        ("b200", (0, 33, 0), 16384),
    ],
)
def test_the_llm_class_has_larger_batches(
    gpu: str, version: tuple[int, int, int], expected: int
) -> None:
    run = Run(8192, usage="llm")
    assert batch_defaults(run, parse_gpu(gpu)[0], rules_of(version))[1] == expected


def test_a_default_batch_holds_no_more_than_all_sequences_of_the_context() -> None:
    gpu, rules = parse_gpu("h100")[0], rules_of(NEWEST)
    assert batch_defaults(Run(512, max_num_seqs=4), gpu, rules) == (4, 2048)
    assert batch_defaults(Run(512, max_num_seqs=4, max_num_batched_tokens=4096), gpu, rules) == (
        4,
        4096,
    )


@pytest.mark.parametrize(
    ("architecture", "version", "quantized", "second"),
    [
        ("Qwen3ForCausalLM", (0, 20, 2), False, False),
        ("Qwen3ForCausalLM", (0, 22, 0), False, True),
        ("Qwen3ForCausalLM", (0, 22, 0), True, False),
        ("LlamaForCausalLM", (0, 22, 1), False, False),
        ("LlamaForCausalLM", (0, 23, 0), False, True),
        ("LlamaForCausalLM", (0, 23, 0), True, False),
        ("LlamaForCausalLM", (0, 24, 0), True, True),
        ("Qwen2ForCausalLM", (0, 24, 0), False, False),
        ("Qwen2ForCausalLM", (0, 25, 0), True, True),
        ("MixtralForCausalLM", (0, 28, 1), False, False),
        ("MixtralForCausalLM", (0, 29, 0), False, True),
        ("LlamaForSequenceClassification", (0, 28, 1), False, False),
        ("LlamaForSequenceClassification", (0, 29, 0), False, True),
    ],
)
def test_the_model_runner_of_each_release(
    architecture: str, version: tuple[int, int, int], quantized: bool, second: bool
) -> None:
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "num_labels": 1}
    shape = tiny(architectures=[architecture], **experts).shape
    assert has_second_runner(shape, rules_of(version), quantized=quantized) is second


@pytest.mark.parametrize(
    ("version", "inside"),
    [((0, 19, 1), False), ((0, 20, 0), True), ((0, 25, 0), False), ((0, 29, 0), True)],
)
def test_graphs_are_taken_from_the_cache_where_their_runner_measures_them(
    version: tuple[int, int, int], inside: bool
) -> None:
    plan = estimate(tiny(), parse_gpu("l4")[0], Run(512), rules_of(version))
    eager = estimate(tiny(), parse_gpu("l4")[0], Run(512, eager=True), rules_of(version))
    assert plan.graphs_in_budget is inside
    more = plan.ranks[0].compiling.expected + inside * plan.ranks[0].graphs.expected
    assert eager.tightest.kv.expected - plan.tightest.kv.expected == more


@pytest.mark.parametrize(
    ("pipeline", "version", "drafting", "batches"),
    [
        (1, (0, 25, 1), None, 1),
        (1, (0, 26, 0), None, 2),
        (2, (0, 26, 0), None, 3),
        (1, (0, 33, 0), None, 2),
        (1, (0, 32, 0), Drafting(4), 1),
        (2, (0, 32, 0), Drafting(4), 2),
    ],
)
def test_a_window_keeps_the_batches_on_their_way(
    pipeline: int, version: tuple[int, int, int], drafting: Drafting | None, batches: int
) -> None:
    model = tiny(architectures=["MistralForCausalLM"], sliding_window=64)
    run = Run(512, Layout(1, pipeline), max_num_batched_tokens=128, drafting=drafting)
    plan = estimate(model, parse_gpu("l4")[0], run, rules_of(version))
    assert plan.in_flight == 128 * batches
    assert plan.request_blocks == -(-min(63 + 128 * batches, 512) // 16) + 1


@pytest.mark.parametrize(
    ("gpu", "sequences", "version", "larger"),
    [
        ("b200", 1024, (0, 27, 1), False),
        ("b200", 1024, (0, 28, 0), True),
        ("b300", 1024, (0, 33, 0), True),
        ("b200", 256, (0, 33, 0), False),
        ("h100", 1024, (0, 33, 0), False),
        ("rtx-5090", 1024, (0, 33, 0), False),
        ("gb10", 1024, (0, 33, 0), False),
    ],
)
def test_data_centre_blackwell_captures_up_to_1024(
    gpu: str, sequences: int, version: tuple[int, int, int], larger: bool
) -> None:
    """512 graphs of 51 sizes and 51 whole ones; 1,024 has 32 sizes more of each."""
    shape, batch, rules = tiny().shape, Batch(8192, sequences, 1), rules_of(version)
    card = parse_gpu(gpu)[0]
    one, two = (graph_bytes(shape, batch, rules, card, layers).expected for layers in (1, 2))
    whole = 51 if sequences > 256 else 35
    assert (two - one) * 8 // 2**20 == (166 if larger else 51 + whole)
