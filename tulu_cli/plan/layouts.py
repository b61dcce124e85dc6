"""The layouts that a model can have on several machines, side by side, and the links of each.

The bounds on speed count memory bandwidth alone. What the GPUs send one another bounds them too:
with tensor parallelism two all-reduces in each layer, of which each of n GPUs sends 2 (n - 1) / n,
or all of it once where NVSwitch adds up on the way (NVLink SHARP, from H100 on); from stage to
stage the hidden state and the residual (IntermediateTensors in vLLM's models/llama.py);
and with data parallelism of experts an all-gather and a reduce-scatter in each layer that has
them (all2all_backend in vLLM's config/parallel.py), in which the token of one of n replicas passes
n - 1 GPUs.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tulu_cli.errors import UsageError
from tulu_cli.plan.gpus import Card, Gpu
from tulu_cli.plan.search import layout_for, most_requests
from tulu_cli.plan.shape import Shape
from tulu_cli.plan.sharding import Layout, spread
from tulu_cli.plan.speed import Speed, bounds
from tulu_cli.plan.values import Judgement
from tulu_cli.plan.versions import Rules
from tulu_cli.plan.vllm import Estimate, Model, Run, estimate, judge

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

    `requests` of the context length fit at once, on all replicas; `speed` is for as many, and all
    of it but that for one user is bounded by the links inside of a machine too. `traffic` is None
    where the speed of the GPU is unknown.
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
        try:
            spanned, local = spread(replicas, nodes)
            if gpus % local:
                continue
            found = layout_for(shape, gpus // local, spanned)._replace(data=replicas)
        except UsageError:  # they cannot share the machines, or there are more stages than layers
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
    inside: float = 2 * shape.layers / layout.pipeline * state * sent if layout.tensor > 1 else 0
    gpus, nodes = machines
    across: float = (
        2 * state if layout.pipeline > 1 and layout.tensor * layout.pipeline > gpus else 0
    )
    across += inside if layout.tensor > gpus else 0  # once around each ring
    if shape.experts and layout.data > 1:
        exchanged = 2 * state * (shape.layers - shape.experts.first)
        inside += (layout.data - 1) * exchanged / layout.pipeline
        across += exchanged if nodes > 1 else 0
    return (inside if gpus > 1 else 0), across


def link_rate(card: Card | None) -> float | None:
    """Return the GB/s that a GPU can send to others of its machine, None if it is not known."""
    if card is None:
        return None
    if card.amd or card.name in _BY_NAME:
        return _BY_NAME.get(card.name)
    return (_PCIE if card.link == "pcie" else _NVLINK).get(card.capability)
