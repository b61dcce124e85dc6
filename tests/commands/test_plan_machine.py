"""`tulu plan` for the GPUs of the machine: what is free counts, and who holds the rest is said."""

import io
import json
from typing import Any

import pytest

from tulu_cli.errors import DoesNotFit, UsageError
from tulu_cli.machine import Gpu, Machine, Program
from tulu_cli.plan.gpus import find_card
from tulu_cli.plan.run import PlanOptions, run
from tulu_cli.streams import Streams

MIB = 2**20
H100 = 81559 * MIB


def planned(machine: Machine, *, tty: bool = False, **values: Any) -> tuple[str, str]:
    streams = Streams.test(tty=tty)
    given: dict[str, Any] = {"models": ("8b",), "vllm_version": "0.24.0"} | values
    chosen = PlanOptions(**given)
    run(chosen, streams, lambda: machine)
    assert isinstance(streams.stdout, io.BytesIO)
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stdout.getvalue().decode(), streams.stderr.getvalue().decode()


def gpu(index: int, used: int = 500 * MIB, **values: Any) -> Gpu:
    return Gpu(index, "NVIDIA H100 80GB HBM3", H100, H100 - used, **values)


def test_all_gpus_of_the_machine_share_the_model() -> None:
    output, said = planned(Machine((gpu(0), gpu(1))))
    assert "on 2 x NVIDIA H100 80GB HBM3 (tensor parallel 2)" in output
    assert said == ""


def test_what_another_program_holds_is_named_and_not_planned_with() -> None:
    busy = gpu(0, 50 * 2**30, programs=(Program(4242, "python", 49 * 2**30),))
    with pytest.raises(DoesNotFit, match="other programs"):
        planned(Machine((busy,)))
    _, said = planned(Machine((busy,)), gpu_memory_utilization=0.3)
    assert "python (process 4242) holds 49.00 GiB" in said


def test_a_machine_without_a_gpu_gets_the_catalogue() -> None:
    output, _ = planned(Machine())
    assert output.startswith("GPUs ")


@pytest.mark.parametrize(
    "asked",
    [{"find": "concurrency"}, {"explain": True}, {"plot": "p.svg"}, {"models": ("8b", "70b")}],
    ids=lambda asked: next(iter(asked)),
)
def test_what_needs_a_gpu_is_refused_without_one(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs a GPU, and this machine has none"):
        planned(Machine(), **asked)


def test_transformers_needs_a_gpu_to_plan_for() -> None:
    with pytest.raises(UsageError, match="This machine has no GPU: name one"):
        planned(Machine(), engine="transformers", vllm_version=None)


def test_a_catalogue_of_one_gpu_is_a_list_in_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.plan.gpus.CARDS", (find_card("h100"),))
    output, _ = planned(Machine(), json_output=True)
    assert [plan["gpu"]["name"] for plan in json.loads(output)["plans"]] == ["H100"]


def test_what_fits_on_no_card_of_the_catalogue_is_said() -> None:
    with pytest.raises(DoesNotFit, match="8b fits on no GPU of the catalogue"):
        planned(Machine(), concurrency=10**6)


def test_a_terminal_gets_a_bar() -> None:
    output, _ = planned(Machine((gpu(0),)), tty=True)
    (line,) = (line for line in output.splitlines() if line.startswith("each GPU ["))
    assert line.endswith("] 79.18 GiB")
    assert {"W", "K", "A"} <= set(line)


def test_a_hostile_name_of_a_program_is_made_safe() -> None:
    program = Program(1, "\x1b]0;owned\x07", 2**30)
    _, said = planned(Machine((gpu(0, programs=(program,)),)))
    assert "\x1b" not in said
    assert "owned" in said
