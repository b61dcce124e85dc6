"""The peak of a forward pass, of sampling, and of compiling."""

from dataclasses import replace
from typing import Any

import pytest

from tests.plan.tiny import tiny
from tulu_cli.plan.activation import (
    Batch,
    Chip,
    activation_peak,
    counter_bytes,
    expert_buffers,
    forward_peak,
    sampler_peak,
    workspace,
)
from tulu_cli.plan.gpus import parse_gpu
from tulu_cli.plan.values import MIB
from tulu_cli.plan.versions import NEWEST, Rules, rules_of
from tulu_cli.plan.vllm import unpacks

ADA, TURING, HOPPER, CDNA = (
    Chip((8, 9), 128),
    Chip((7, 5), 72),
    Chip((9, 0), 132),
    Chip((9, 4), 304, amd=True),
)
BATCH = Batch(2048, 256, 1)
WIDE = {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288}
MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}


def peak(
    rules: Rules, *, compiles: bool = True, batch: Batch = BATCH, second: bool = True
) -> tuple[int, int]:
    found = activation_peak(
        tiny(**WIDE).shape, batch, rules, ADA, samples=True, compiles=compiles, second_runner=second
    )
    return found.running.expected, found.compiling.expected


@pytest.mark.parametrize(
    ("version", "left"), [((0, 27, 0), 550), ((0, 30, 0), 550), ((0, 31, 0), 0), (NEWEST, 0)]
)
def test_compiling_takes_what_running_does_not(version: tuple[int, int, int], left: int) -> None:
    shape, rules = tiny(**WIDE).shape, rules_of(version)
    runs = max(
        forward_peak(shape, BATCH, rules),
        sampler_peak(shape, BATCH, rules, ADA, second_runner=True),
    )
    _, compiling = peak(rules)
    assert compiling == max(0, 950 * MIB - runs) + left * MIB
    assert peak(rules, compiles=False) == (peak(rules)[0], 0)


def test_gpus_that_share_a_layer_share_what_compiling_takes() -> None:
    rules = rules_of((0, 28, 0))
    shape, batch = tiny(**WIDE).shape, BATCH._replace(gpus=2)
    _, compiling = peak(rules, batch=batch)
    assert compiling == 475 * MIB - forward_peak(shape, batch, rules) + 275 * MIB


@pytest.mark.parametrize("version", [(0, 19, 1), (0, 20, 2)])
def test_older_releases_have_no_figure_for_compiling(version: tuple[int, int, int]) -> None:
    assert peak(rules_of(version), second=False)[1] == 0


def test_a_larger_peak_hides_what_compiling_tries() -> None:
    rules = rules_of((0, 32, 0))
    assert peak(rules)[1] > 0
    assert peak(rules, batch=Batch(16384, 1024, 1))[1] == 0


def test_runner_2_counts_penalties_where_the_driver_is_asked() -> None:
    shape = tiny(**WIDE).shape
    counters = counter_bytes(shape, BATCH)
    assert counters == 256 * 151936 * 33 // 8
    before, after = rules_of((0, 26, 0)), rules_of((0, 27, 0))
    assert peak(after)[0] - peak(before)[0] == counters
    assert peak(after, second=False)[0] == peak(before, second=False)[0]


@pytest.mark.parametrize(
    ("chip", "bytes_a_logit"), [(ADA, 14), (HOPPER, 14), (TURING, 6), (CDNA, 6)]
)
def test_since_0_33_runner_2_samples_in_full_precision(chip: Chip, bytes_a_logit: int) -> None:
    """FlashInfer has copies for the filter and the probabilities; Triton has a row a program."""
    shape = tiny(**WIDE).shape
    logits, hidden = 256 * 151936, (2048 + 2 * 256) * 4096 * 2
    rows = 0 if bytes_a_logit == 14 else min(chip.processors, 256) * 151936 * 4
    now = sampler_peak(shape, BATCH, rules_of((0, 33, 0)), chip, second_runner=True)
    before = sampler_peak(shape, BATCH, rules_of((0, 32, 0)), chip, second_runner=True)
    assert now == logits * bytes_a_logit + hidden + rows
    assert before == logits * 2 + hidden


def test_since_0_33_the_workspace_of_cublas_is_there_before_vllm_counts() -> None:
    shape, batch = tiny().shape, Batch(64, 4, 1)

    def running(version: tuple[int, int, int]) -> int:
        rules = rules_of(version)
        return activation_peak(
            shape, batch, rules, HOPPER, samples=False, compiles=False
        ).running.expected

    assert running((0, 32, 0)) - running((0, 33, 0)) == workspace(HOPPER) == 32 * MIB


@pytest.mark.parametrize(
    ("chip", "mebibytes"),
    [
        (Chip((9, 0), 104, amd=True), 32),
        (Chip((9, 5), 256, amd=True), 128),
        (Chip((11, 0), 96, amd=True), 32),
    ],
)
def test_hipblas_has_a_workspace_of_its_own_size(chip: Chip, mebibytes: int) -> None:
    assert workspace(chip) == mebibytes * MIB


@pytest.mark.parametrize(("tokens", "unpacked"), [(255, False), (256, True)])
def test_awq_without_marlin_unpacks_gate_and_up_of_large_batches(
    tokens: int, unpacked: bool
) -> None:
    shape, batch, rules = tiny(**WIDE).shape, Batch(tokens, 8, 2), rules_of(NEWEST)
    whole = 2 * (tokens * (4 * 4096 + 12288) + 4096 * 12288)  # gate and up of each of two GPUs
    packed = forward_peak(shape, batch, rules)
    assert forward_peak(shape, batch, rules, unpacks=True) == (whole if unpacked else packed)


@pytest.mark.parametrize(
    ("gpu", "quantization", "config", "unpacked"),
    [
        ("w7900", "awq", {}, True),
        ("w7900", "gptq", {}, False),
        ("rtx-4090", "awq", {}, False),
        ("w7900", "awq", MIXTRAL, False),
    ],
)
def test_only_dense_awq_on_amd_is_unpacked(
    gpu: str, quantization: str, config: dict[str, Any], unpacked: bool
) -> None:
    model = replace(tiny(**config), quantization=quantization)
    assert unpacks(model, parse_gpu(gpu)[0].chip) is unpacked


@pytest.mark.parametrize(
    ("batch", "tokens", "width"),
    [
        (Batch(100, 8, 1), 100, 480),
        (Batch(100, 8, 2), 100, 240),
        (Batch(100, 8, 2, whole_experts=True), 100, 480),
        (Batch(100, 8, 1, replicas=2), 200, 240),
        (Batch(100, 8, 2, replicas=4, whole_experts=True), 400, 480),
    ],
)
def test_experts_work_for_all_replicas(batch: Batch, tokens: int, width: int) -> None:
    shape = tiny(**MIXTRAL).shape
    assert expert_buffers(shape, batch) == tokens * 2 * (width + 64) * 2


def test_the_buffers_of_experts_stay_since_0_13() -> None:
    shape, batch = tiny(**MIXTRAL, vocab_size=50_000).shape, Batch(64, 64, 1)

    def running(version: tuple[int, int, int]) -> int:
        rules = rules_of(version)._replace(counts_workspace=False)
        return activation_peak(
            shape, batch, rules, ADA, samples=True, compiles=False
        ).running.expected

    assert running((0, 13, 0)) - running((0, 12, 0)) == expert_buffers(shape, batch)
