"""The layouts that a model can have on several machines, side by side, and the links of each.

The bounds on speed count memory bandwidth alone. What the GPUs send one another bounds them too:
with tensor parallelism two all-reduces in each layer, of which each of n GPUs sends 2 (n - 1) / n,
or all of it once where NVSwitch adds up on the way (NVLink SHARP, from H100 on); from stage to
stage the hidden state and the residual (IntermediateTensors in vLLM's models/llama.py);
and with data parallelism of experts an all-gather and a reduce-scatter in each layer that has
them (all2all_backend in vLLM's config/parallel.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import Card, Gpu
from tulu_cli.plan.search import layout_for, most_requests
from tulu_cli.plan.shape import Shape
from tulu_cli.plan.sharding import Layout
from tulu_cli.plan.speed import Speed, bounds
from tulu_cli.plan.values import Judgement
from tulu_cli.plan.versions import Rules
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate, judge
from tulu_cli.render.columns import table

# GB/s that a GPU sends to the others of its machine, by compute capability. NVLink's are half of
# what the data sheets of V100, A100, H100 and B200 print, which is both ways together; PCIe's are
# those of 16 lanes of generation 3, 4 and 5.
_NVLINK = {(7, 0): 150, (8, 0): 300, (9, 0): 450, (10, 0): 900, (10, 3): 900}
_PCIE = {(7, 5): 16, (8, 6): 32, (8, 9): 32, (9, 0): 64, (12, 0): 64}
# Cards with a bridge of fewer links, and AMD's, by their own data sheets.
_BY_NAME = {"A30": 100, "H100-NVL": 300, "MI300X": 448, "MI325X": 448} | dict.fromkeys(
    ("MI350X", "MI355X"), 537.6
)
_ADDING = ((9, 0), (10, 0), (10, 3))
_LINK_NAMES = {"nvswitch": "NVLink", "nvlink": "NVLink", "xgmi": "xGMI", "pcie": "PCIe"}
# What usual networks carry each way, in GB/s: their bits a second / 8.
_NETWORKS = (
    ("10 Gb/s Ethernet", 1.25),
    ("25 Gb/s Ethernet", 3.125),
    ("100 Gb/s Ethernet", 12.5),
    ("400 Gb/s InfiniBand (NDR)", 50.0),
    ("eight adapters of 400 Gb/s InfiniBand", 400.0),
)
_GB = 10**9
_ACTIVATION_BYTES = 2  # of a hidden state's number: bfloat16 or float16


class Traffic(NamedTuple):
    """What a layout sends, in bytes a second at its bounds, and what a token is of it in bytes.

    `inside` is sent by each GPU to others of its machine, `across` by a machine to others.
    """

    inside: float
    across: float
    inside_token_bytes: float
    across_token_bytes: float


class Option(NamedTuple):
    """A layout with what it gives.

    `requests` of the context length fit at once, on all replicas; `speed` is for as many, bounded
    by the links inside of a machine too. `traffic` is None where the speed of the GPU is unknown.
    """

    estimate: Estimate
    judgement: Judgement
    requests: int
    speed: Speed
    traffic: Traffic | None

    @property
    def layout(self) -> Layout:
        """The layout."""
        return self.estimate.run.layout


def options(
    model: Model, gpu: Gpu, run: Run, rules: Rules, machines: tuple[int, int]
) -> list[Option]:
    """Return what each layout gives that uses all GPUs of (GPUs a machine, machines).

    Those with the most requests come first, of equal ones the fastest for all. One that the run
    does not allow, as stages beside a draft model, is left out; raise its UsageError if none is.
    """
    found, refused = [], None
    for layout in possible(model.shape, machines, run.layout, link=gpu.link):
        try:
            one = estimate(model, gpu, run._replace(layout=layout), rules)
        except UsageError as error:
            refused = error
        else:
            found.append(option_of(one, machines))
    if not found and refused is not None:
        raise refused
    return sorted(
        found, key=lambda one: (one.requests, one.speed.decode_all or 0, -one.layout.pipeline)
    )[::-1]


def possible(
    shape: Shape, machines: tuple[int, int], given: Layout, *, link: str
) -> Iterator[Layout]:
    """Yield the layouts that use all GPUs, one for each number of replicas that shares them evenly.

    A replica is tensor parallel inside of a machine and pipeline parallel across. Where GPUs have
    no link but PCIe, there is one with stages inside of it too, as vLLM's documentation advises.
    """
    gpus, nodes = machines
    for replicas in range(1, gpus * nodes + 1):
        if nodes % replicas == 0:
            each, span = gpus, nodes // replicas
        elif replicas % nodes == 0 and gpus % (replicas // nodes) == 0:
            each, span = gpus // (replicas // nodes), 1
        else:
            continue
        try:
            found = layout_for(shape, each, span)._replace(data=replicas)
        except UsageError:  # more stages than layers
            continue
        yield found._replace(whole_experts=given.whole_experts)
        stages = found.tensor * found.pipeline
        if link == "pcie" and found.tensor > 1 and stages <= shape.layers:
            yield found._replace(tensor=1, pipeline=stages, whole_experts=given.whole_experts)


def option_of(found: Estimate, machines: tuple[int, int]) -> Option:
    """Return what the layout of an estimate gives on (GPUs a machine, machines)."""
    judgement, requests = judge(found, 1), most_requests(found)
    requests = requests if judgement.fits else 0
    speed = bounds(found, max(1, requests))
    if speed.decode_all is None or speed.prefill is None:
        return Option(found, judgement, requests, speed, None)
    inside, across = token_bytes(found, machines)
    layout, link = found.run.layout, link_rate(found.gpu.card)
    most = link * _GB / inside * layout.data if link and inside else float("inf")
    speed = speed._replace(decode_all=min(speed.decode_all, most), prefill=min(speed.prefill, most))
    rate = max(min(speed.decode_all or 0, most), min(speed.prefill or 0, most))
    shared = 1 if found.model.shape.experts else layout.data
    traffic = Traffic(rate / layout.data * inside, rate / shared * across, inside, across)
    return Option(found, judgement, requests, speed, traffic)


def token_bytes(found: Estimate, machines: tuple[int, int]) -> tuple[float, float]:
    """Return the bytes of a token that a GPU sends in its machine, and a machine to another one."""
    shape, layout = found.model.shape, found.run.layout
    state = shape.hidden * _ACTIVATION_BYTES
    card = found.gpu.card
    adds = card is not None and card.link == "nvswitch" and card.capability in _ADDING
    sent = 1 if adds else 2 * (layout.tensor - 1) / layout.tensor
    inside = 2 * shape.layers / layout.pipeline * state * sent if layout.tensor > 1 else 0
    gpus, nodes = machines
    across: float = (
        2 * state if layout.pipeline > 1 and layout.tensor * layout.pipeline > gpus else 0
    )
    across += inside if layout.tensor > gpus else 0  # once around each ring
    if shape.experts and layout.data > 1 and nodes > 1:
        across += 2 * state * (shape.layers - shape.experts.first)
    return inside, across


def link_rate(card: Card | None) -> float | None:
    """Return the GB/s that a GPU can send to others of its machine, None if it is not known."""
    if card is None:
        return None
    if card.amd or card.name in _BY_NAME:
        return _BY_NAME.get(card.name)
    return (_PCIE if card.link == "pcie" else _NVLINK).get(card.capability)


def network_for(rate: float) -> str:
    """Return which of the usual networks carries bytes a second, or that none does."""
    for name, most in _NETWORKS:
        if most * _GB >= rate:
            return f"{name} carries {most:g}"
    return f"more than {name} ({most:g}), so the network would be the limit"


def options_text(found: Sequence[Option], machines: tuple[int, int]) -> str:
    """Return a table of layouts, the one that gives the most, and the links that it assumes.

    Of a single layout only the links are told.
    """
    if len(found) == 1:
        return "".join(f"{line}\n" for line in links(found[0], machines[1]))
    first = found[0].estimate
    rows = [
        ("replicas", "-tp", "-pp", "verdict", "requests", "for one", "for all", "of prompts"),
    ]
    for one in found:
        layout, speed = one.layout, one.speed
        rows.append(
            (
                str(layout.data),
                str(layout.tensor),
                str(layout.pipeline),
                str(one.judgement.verdict),
                f"{one.requests:,}",
                _rate(speed.decode),
                _rate(speed.decode_all if one.requests else None),
                _rate(speed.prefill),
            )
        )
    return (
        f"{first.model.name} on {machines[1]} x {machines[0]} {first.gpu.name}, by layout: "
        f"requests of {first.run.max_model_len:,} tokens at once, and at most tokens/s\n\n"
        f"{table(rows, right=(0, 1, 2, 4, 5, 6, 7))}\n"
        + "".join(f"{line}\n" for line in _conclusion(found, machines[1]))
    )


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def named(layout: Layout) -> str:
    """Return a layout as options of the command line."""
    replicas = f" --replicas {layout.data}" if layout.data > 1 else ""
    return f"-tp {layout.tensor} -pp {layout.pipeline}{replicas}"


def _conclusion(found: Sequence[Option], nodes: int) -> Iterator[str]:
    best = found[0]
    if not best.requests:
        yield "None of them fits."
        return
    yield f"The most requests: {named(best.layout)}"
    fastest = max(found, key=lambda one: (one.requests > 0, one.speed.decode_all or 0))
    if fastest.layout != best.layout and fastest.speed.decode_all is not None:
        yield f"The most tokens/s for all: {named(fastest.layout)}"
    yield from links(best, nodes)


def links(best: Option, nodes: int) -> Iterator[str]:
    """Yield sentences on the links that a layout's figures assume."""
    traffic, gpu = best.traffic, best.estimate.gpu
    if traffic is None:
        yield "What it needs of links is not known, as only the memory of this GPU is"
        return
    if traffic.inside:
        name, rate = _LINK_NAMES[gpu.link], link_rate(gpu.card)
        has = f"of its {rate:g} by the data sheet" if rate else "whose own are not in the catalogue"
        yield (
            f"Inside a machine it assumes {name}: up to {traffic.inside / _GB:,.1f} GB/s from each "
            f"GPU, {has}"
        )
    if traffic.across:
        yield (
            f"Between machines it assumes up to {traffic.across / _GB:,.2f} GB/s from each "
            f"({traffic.across_token_bytes / 1024:,.0f} KiB a token): {network_for(traffic.across)}"
        )
    elif nodes > 1:
        yield "Between machines it needs nothing: each replica is inside of one"


def options_report(found: Sequence[Option]) -> list[dict[str, Any]]:
    """Return the layouts as plain data for `--json`; rates are in bytes a second."""
    return [
        {
            "tensor_parallel_size": one.layout.tensor,
            "pipeline_parallel_size": one.layout.pipeline,
            "data_parallel_size": one.layout.data,
            "verdict": str(one.judgement.verdict),
            "most_requests": one.requests,
            "speed_upper_bounds": one.speed._asdict(),
            "traffic": one.traffic and one.traffic._asdict(),
            "link_gb_per_second": link_rate(one.estimate.gpu.card),
        }
        for one in found
    ]
