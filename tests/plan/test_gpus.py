"""The catalogue, and what `--gpu` names."""

import pytest

from tulu_cli.errors import UsageError
from tulu_cli.machine import Gpu as MachineGpu
from tulu_cli.machine import Machine, Program
from tulu_cli.plan.gpus import CARDS, Gpu, card_of_driver, find_card, parse_gpu
from tulu_cli.plan.read import machine_gpus, occupants
from tulu_cli.plan.values import GIB


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [
        ("h100", "H100", 1),
        ("H100:4", "H100", 4),
        ("a100-80gb:2", "A100-80GB", 2),
        ("RTX 4090", "RTX-4090", 1),
        ("rtx4090", "RTX-4090", 1),
        ("geforce-rtx-5090:8", "RTX-5090", 8),
        ("mi300x", "MI300X", 1),
        ("24GiB", "24 GiB", 1),
        ("23.5gib:2", "23.5 GiB", 2),
        ("rtx-4080@15.99GiB:2", "RTX-4080", 2),
        ("quadro-rtx-6000", "Quadro-RTX-6000", 1),
        ("t1000-8gb@7.75GiB", "T1000-8GB", 1),
        ("AMD Radeon AI PRO R9700", "R9700", 1),
        ("Intel(R) Arc(TM) Pro B60 Graphics:4", "Arc-Pro-B60", 4),
        ("b580", "Arc-B580", 1),
    ],
)
def test_a_gpu_by_name_or_size(text: str, name: str, count: int) -> None:
    gpu, number = parse_gpu(text)
    assert (gpu.name, number) == (name, count)
    assert gpu.total_bytes == gpu.free_bytes > 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("h101", "Did you mean h100"),
        ("", "unknown GPU"),
        ("h100:", "from 1 to"),
        ("h100:0", "from 1 to"),
        ("h100:-2", "from 1 to"),
        ("h100:1e9", "from 1 to"),
        ("h100:99999", "from 1 to"),
        ("0GiB", "more than 0"),
        ("99999999GiB", "at most"),
        ("h100@", "such as 24GiB"),
        ("h100@80", "such as 24GiB"),
        ("h100@0GiB", "more than 0"),
        ("@24GiB", "unknown GPU"),
        ("24GiB@24GiB", "unknown GPU"),
        ("rtx-6000", "rtx-6000-ada"),
    ],
)
def test_a_gpu_that_is_none(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_gpu(text)


def test_every_row_is_found_by_each_of_its_names_and_no_name_is_twice() -> None:
    names = [name for card in CARDS for name in (card.name, *card.aliases)]
    for card in CARDS:
        for name in (card.name, *card.aliases):
            assert find_card(name) is card
    assert len({name.lower() for name in names}) == len(names)


@pytest.mark.parametrize(
    ("name", "mebibytes", "card"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, "H100"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", 40960, "A100-40GB"),
        ("Tesla V100-SXM2-16GB", 16160, "V100-16GB"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX-4090"),
        ("NVIDIA GeForce RTX 4080 SUPER", 16376, "RTX-4080-Super"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, "RTX-PRO-6000"),
        ("NVIDIA A10G", 23028, "A10G"),
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA GeForce RTX 4060", 8188, "RTX-4060"),
        ("NVIDIA GeForce RTX 4090 D", 24564, "RTX-4090-D"),
        ("NVIDIA GeForce RTX 4070 Laptop GPU", 8188, "RTX-4070-Laptop"),
        ("NVIDIA GeForce RTX 4080 Laptop GPU", 12282, "RTX-4080-Laptop"),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", 8192, "RTX-3070-Laptop"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", 24463, "RTX-5090-Laptop"),
        ("Quadro RTX 6000", 24576, "Quadro-RTX-6000"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "RTX-6000-Ada"),
        ("NVIDIA TITAN RTX", 24576, "Titan-RTX"),
        ("NVIDIA RTX A5000", 24564, "RTX-A5000"),
        ("NVIDIA GB10", 124610, "GB10"),
        ("NVIDIA GB10", 122570, "GB10"),
        ("AMD Instinct MI300X", 196288, "MI300X"),
        ("AMD Radeon PRO W7900", 46064, "W7900"),
        ("NVIDIA Imaginary 9000", 24564, None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9856, None),
    ],
)
def test_the_names_of_the_driver(name: str, mebibytes: int, card: str | None) -> None:
    found = card_of_driver(name, mebibytes * 2**20)
    assert (found.name if found else None) == card


def test_the_machine_has_what_cuda_may_use_and_what_is_free() -> None:
    total = 81559 * 2**20
    machine = Machine((MachineGpu(0, "NVIDIA H100 80GB HBM3", total, total - 10 * GIB),))
    (gpu,) = machine_gpus(machine)
    assert gpu.total_bytes == int(79.18 * GIB) < total
    assert gpu.total_bytes - gpu.free_bytes == 10 * GIB


def test_a_size_beside_a_name_is_that_of_the_memory() -> None:
    gpu, _ = parse_gpu("rtx-4080@15.99GiB")
    assert gpu.total_bytes == gpu.free_bytes == int(15.99 * GIB)
    assert gpu.chip == parse_gpu("rtx-4080")[0].chip


def test_under_wsl_the_driver_tells_what_cuda_has() -> None:
    total = 16376 * 2**20
    gpus = (MachineGpu(0, "NVIDIA GeForce RTX 4080", total, total),)
    (inside,) = machine_gpus(Machine(gpus, wsl=True))
    (outside,) = machine_gpus(Machine(gpus))
    assert (inside.total_bytes, outside.total_bytes) == (total, int(15.6 * GIB))
    assert round(inside.total_bytes / GIB, 2) == 15.99


@pytest.mark.parametrize(
    ("gpu", "shares"),
    [
        (parse_gpu("gb10")[0], True),
        (parse_gpu("thor")[0], True),
        (Gpu("NVIDIA New", GIB, GIB, shared=True), True),
        (Gpu("NVIDIA Orin", GIB, GIB, capability=(8, 7)), True),
        (parse_gpu("gh200")[0], False),
        (parse_gpu("w7900")[0], False),  # Thor's capability is that of another architecture
        (parse_gpu("24GiB")[0], False),
    ],
)
def test_what_shares_the_memory_of_the_machine(gpu: Gpu, shares: bool) -> None:
    assert gpu.shares_memory is shares


@pytest.mark.parametrize(
    ("name", "hides"), [("strix-halo", True), ("gb10", True), ("w7900", False)]
)
def test_what_the_driver_does_not_tell_of(name: str, hides: bool) -> None:
    assert parse_gpu(f"{name}@120GiB")[0].hides_memory is hides


def test_the_driver_says_that_the_memory_is_shared() -> None:
    (gpu,) = machine_gpus(Machine((MachineGpu(0, "NVIDIA New", GIB, GIB, shared=True),)))
    assert gpu.shares_memory


def test_amd_cards_are_known_by_the_name_where_they_have_no_row() -> None:
    size = int(31.86 * GIB)
    (gpu,) = machine_gpus(Machine((MachineGpu(0, "AMD Radeon AI PRO R9700", size, size),)))
    assert (gpu.card, gpu.chip.amd) == (None, True)


def test_a_card_that_has_no_row_is_known_by_its_compute_capability() -> None:
    size = 100 * GIB
    machine = Machine((MachineGpu(0, "NVIDIA New", size, size, capability=(10, 0)),))
    (gpu,) = machine_gpus(machine)
    assert (gpu.card, gpu.chip.capability) == (None, (10, 0))


def test_other_programs_and_slices_are_named() -> None:
    gpu = MachineGpu(1, "H100", 80 * GIB, GIB, (Program(77, "python", 3 * GIB),), slice=True)
    said = occupants(Machine((gpu,)))
    assert any("MIG slice" in line for line in said)
    assert any("python (process 77) holds 3.00 GiB" in line for line in said)
