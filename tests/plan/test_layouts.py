"""The layouts of a model on several machines, and what they need of links."""

import json
import re

import pytest

from tests.commands.test_plan import plan
from tests.plan.test_sharding import MIXTRAL
from tests.plan.test_verdict import tulu
from tests.plan.tiny import tiny
from tests.serving.test_public import serve as script
from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import CARDS, parse_gpu
from tulu_cli.plan.layouts import link_rate, option_of, options, possible, token_bytes
from tulu_cli.plan.search import share_machines
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.text import LINK_NAMES, network_for
from tulu_cli.plan.versions import NEWEST, rules_of
from tulu_cli.plan.vllm import Run, estimate


def test_layouts_use_all_gpus_and_share_them_evenly() -> None:
    shape = tulu("405B").shape
    found = [tuple(each)[:3] for each in possible(shape, (8, 2), Layout(), link="nvswitch")]
    assert found == [(8, 2, 1), (8, 1, 2), (4, 1, 4), (2, 1, 8), (1, 1, 16)]
    over_pcie = [tuple(each)[:3] for each in possible(shape, (2, 3), Layout(), link="pcie")]
    assert over_pcie == [(2, 3, 1), (1, 6, 1), (2, 1, 3), (1, 2, 3), (1, 1, 6)]


@pytest.mark.parametrize(
    ("machines", "replicas", "asked", "expected"),
    [
        (2, 1, {}, (8, 2)),
        (2, 4, {}, (4, 1)),
        (4, 2, {}, (8, 2)),
        (1, 2, {"pipeline": 2}, (2, 2)),
        (2, 1, {"tensor": 4}, (4, 2)),
        (2, 1, {"pipeline": 4}, (4, 4)),
        (2, 3, {}, "--replicas 3 cannot share 2 machines evenly"),
        (1, 3, {}, "3 replicas cannot share 8 GPUs evenly"),
        (2, 1, {"pipeline": 3}, "3 pipeline stages cannot share 16 GPUs evenly"),
        (2, 1, {"tensor": 3, "pipeline": 1}, "-tp 3 -pp 1 cannot be divided over 2 machines"),
    ],
)
def test_how_replicas_share_machines(
    machines: int, replicas: int, asked: dict[str, int], expected: tuple[int, int] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(UsageError, match=expected):
            share_machines((8, machines), replicas, **asked)
        return
    found = share_machines((8, machines), replicas, **asked)
    assert found == Layout(*expected, replicas)
    assert found.gpus <= 8 * machines


def test_the_layout_with_the_most_requests_comes_first() -> None:
    gpu, count = parse_gpu("l40s:8")
    found = options(tulu("70B"), gpu, Run(8192), rules_of(NEWEST), (count, 2))
    requests = [one.requests for one in found]
    assert requests == sorted(requests, reverse=True)
    assert found[0].layout == Layout(8, 2)
    # All-reduces over PCIe 4: 2 of 8,192 x 2 bytes in each of 40 layers, 7/4 times.
    assert found[0].traffic is not None
    assert found[0].traffic.inside_token_bytes == 2 * 40 * 8192 * 2 * 7 / 4
    assert found[0].speed.prefill == 32e9 / found[0].traffic.inside_token_bytes
    # The hidden state and the residual go to the next machine.
    assert token_bytes(found[0].estimate, (8, 2))[1] == 2 * 8192 * 2


def test_experts_of_replicas_send_every_token_to_all_of_them() -> None:
    model, gpu = tiny(**MIXTRAL), parse_gpu("h100")[0]
    found = estimate(model, gpu, Run(512, Layout(data=8)), rules_of(NEWEST))
    once = 2 * model.shape.layers * 2 * model.shape.hidden
    assert token_bytes(found, (8, 1)) == (7 * once, 0)
    assert token_bytes(found, (4, 2)) == (7 * once, once)
    assert token_bytes(found, (1, 8)) == (0, once)
    traffic = option_of(found, (8, 1)).traffic
    assert traffic is not None
    assert traffic.inside == pytest.approx(450e9)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("405b --gpu h100:8 --nodes 2 -tp 16 -pp 1", "2 machines with 8 GPUs each: tensor para"),
        ("70b --gpu h100:4 --nodes 4 -tp 4 --replicas 2", "4 machines with 4 GPUs each: 2 replic"),
        ("70b --gpu h100:4 --nodes 2 -pp 4", "2 machines with 4 GPUs each: tensor parallel 2, p"),
        ("8b --gpu h100:4 --replicas 2 -pp 2", "1 machine with 4 GPUs: 2 replicas, pipeline par"),
    ],
)
def test_the_script_that_is_advised_has_the_layout_of_the_plan(asked: str, said: str) -> None:
    gpus = json.loads(plan(*asked.split(), "--json")[1])["gpus"]
    (line,) = (line for line in plan(*asked.split())[1].splitlines() if "tulu serve" in line)
    head, *_ = script(*line.split()[2:]).splitlines()
    assert said in head
    machines, each = (int(word) for word in re.findall(r"(\d+) (?:machine|GPU)", head))
    assert machines * each == gpus


def test_one_machine_of_a_kind_of_gpu_sends_nothing_to_others() -> None:
    text = plan("70b", "--gpu", "h100", "-tp", "8", "--nodes", "1")[1]
    assert text.startswith("Inside a machine it assumes NVLink")
    assert "Between machines" not in text
    assert plan("8b", "--gpu", "h100", "--nodes", "1")[1].startswith("8b on 1 x H100")
    of_one = plan("70b", "--gpu", "h100:8", "--nodes", "2", "--replicas", "1")[1]
    assert of_one.startswith("Inside a machine")
    none_fits = plan("405b", "--gpu", "h100:2", "--nodes", "2")[1]
    assert "It would fit with" in none_fits
    assert "more GPU" not in none_fits


@pytest.mark.parametrize("gpu", ["24GiB:3", "h100:1", "h100"])
def test_the_gpus_that_are_missing_are_named_so_that_they_can_be_asked_for(gpu: str) -> None:
    found = json.loads(plan("70b", "--gpu", gpu, "--json")[1])
    (more,) = (each["option"] for each in found["changes"] if "more GPU" in each["cost"])
    asked = [] if "--gpu" in more else ["--gpu", gpu]
    assert plan("70b", *more.split(), *asked)[0] == 0


def test_what_is_said() -> None:
    code, text, _ = plan("405b", "--gpu", "h100:8", "--nodes", "2")
    assert code == 0
    assert "The most requests: -tp 8 -pp 2\n" in text
    assert "assumes NVLink: up to 80.9 GB/s from each GPU, of its 450 by the data sheet\n" in text
    assert "1.28 GB/s from each (64 KiB a token): 25 Gb/s Ethernet carries 3.125\n" in text
    assert text.endswith("--tensor-parallel-size 8 --pipeline-parallel-size 2 --nodes 2\n")
    refused = "tulu: --nodes needs a GPU, and this machine has none: name one with --gpu.\n"
    assert plan("405b", "--nodes", "2") == (2, "", refused)
    fixed = plan("405b", "--gpu", "h100:8", "--nodes", "2", "-tp", "8", "-pp", "2")[1]
    assert fixed == text[text.index("Inside a machine") :]
    found = json.loads(plan("8b", "--gpu", "24GiB:2", "--nodes", "1", "--json")[1])
    assert [one["most_requests"] for one in found["layouts"]] == sorted(
        (one["most_requests"] for one in found["layouts"]), reverse=True
    )
    assert found["layouts"][0]["traffic"] is None


@pytest.mark.parametrize(
    ("gigabytes", "said"),
    [
        (1, "10 Gb/s Ethernet carries 1.25"),
        (49, "400 Gb/s InfiniBand (NDR) carries 50"),
        (700, "more than eight adapters of 400 Gb/s InfiniBand (400), so the network would be"),
    ],
)
def test_the_network(gigabytes: int, said: str) -> None:
    assert network_for(gigabytes * 1e9).startswith(said)


def test_links_are_those_of_the_data_sheets() -> None:
    rates = {card.name: link_rate(card) for card in CARDS}
    assert (rates["H100"], rates["A100-80GB"], rates["H100-NVL"]) == (450, 300, 300)
    assert (rates["L40S"], rates["MI300X"], rates["W7900"]) == (32, 448, None)
    assert {card.link for card in CARDS} == set(LINK_NAMES)
    assert (
        "Inside a machine it assumes Xe Link: "
        in plan("8b", "--gpu", "max-1550:2", "--nodes", "1")[1]
    )
