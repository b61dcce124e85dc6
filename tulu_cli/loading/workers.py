"""An engine of workers on Ray: each loads the model, and together they answer as one."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tulu_cli import __version__
from tulu_cli.engines.fleet import Fleet, Member
from tulu_cli.errors import EngineDied, NoEngine
from tulu_cli.loading.open import Purpose, with_weights
from tulu_cli.loading.prepare import Prepared
from tulu_cli.models import resolve
from tulu_cli.models.reference import IsAdapter
from tulu_cli.prompt import LateTokenizer
from tulu_cli.render.talk import status

if TYPE_CHECKING:
    from tulu_cli.engines.ray import RayOptions
    from tulu_cli.engines.ray.cluster import Cluster
    from tulu_cli.machine import Machine
    from tulu_cli.settings import Settings
    from tulu_cli.streams import Streams

_JOIN_SECONDS = 10.0  # how often it is seen whether the cluster has more room
_LEAVE_SECONDS = 2.0  # for a look that is under way: a head that is gone answers none


@contextmanager
def reached(
    options: "RayOptions | None", settings: "Settings", machine: "Machine", streams: "Streams"
) -> "Iterator[Cluster | None]":
    """Be connected inside to the cluster that `options` name, if they name one that there is.

    One that is to be started waits until it is needed. Raise NoEngine without Ray, and what
    connecting raises.
    """
    if options is None:
        yield None
        return
    from tulu_cli.engines.ray import why_not

    problem = why_not(machine)
    if problem is not None:
        raise NoEngine(f"--ray cannot be used: {problem}.")
    _check_name(settings)
    from tulu_cli.engines.ray.cluster import LOCAL, place_of

    place = place_of(options.address, streams.say)
    if place == LOCAL:
        yield None
        return
    with closing(_connected(replace(options, address=place), settings, streams)) as cluster:
        yield cluster


@contextmanager
def open_workers(
    prepared: Prepared,
    options: "RayOptions",
    cluster: "Cluster | None",
    streams: "Streams",
    *,
    purpose: Purpose,
) -> Iterator[Fleet]:
    """Have workers with the model inside, as soon as one has loaded it; the others join.

    So do more, when the cluster has more room. Without a `cluster`, one is started on this machine.
    Raise what loading raises.
    """
    from tulu_cli.engines.ray.cluster import LOCAL
    from tulu_cli.engines.ray.files import Files
    from tulu_cli.engines.ray.order import Order

    prepared = with_weights(prepared, streams, purpose=purpose)
    model = prepared.token_model()
    spec = replace(model.spec, tokenizer=LateTokenizer(model.spec.directory))
    draft = None
    if spec.draft is not None and spec.draft.directory is not None:
        ref = resolve(spec.draft.name, prepared.settings.aliases)
        draft = Files.of(ref, spec.draft.directory)
    order = Order(
        prepared.choice.engine,
        spec,
        __version__,
        Files.of(model.files.ref, spec.directory),
        draft,
        tuple(adapter.content_hash() for adapter in spec.adapters),
    )
    with ExitStack() as held:
        if cluster is None:
            with status(streams, "Starting Ray ..."):
                here = replace(options, address=LOCAL)
                cluster = _connected(here, prepared.settings, streams)
            held.enter_context(closing(cluster))

        def member(number: int) -> Member:
            name = f"worker {number}"
            return Member(
                name,
                partial(cluster.open_worker, name, order),
                is_loading=partial(cluster.is_loading, name),
            )

        known = cluster.room()
        members = map(member, range(1, known + 1))
        fleet = Fleet(members, noun="worker", say=streams.say, all_must_open=False)
        is_over = threading.Event()

        def add_joining() -> None:
            nonlocal known
            while not is_over.wait(_JOIN_SECONDS):
                with suppress(EngineDied):  # the members that it has lost say so
                    room = cluster.room()
                    while known < room:
                        known += 1
                        fleet.add(member(known))

        joining = threading.Thread(target=add_joining, daemon=True)
        try:
            cluster.expect_room()
            with status(streams, f"Loading {model.name} with {order.engine} on Ray ..."):
                fleet.open()
            joining.start()
            yield fleet
        finally:
            is_over.set()
            cluster.leave()
            fleet.close()
            if joining.ident is not None:
                joining.join(_LEAVE_SECONDS)


def _check_name(settings: "Settings") -> None:
    """Raise what a model's name is refused with, before a cluster is waited for."""
    name = settings.get("model")
    if name is not None:
        with suppress(IsAdapter):  # its base is found later
            resolve(name, settings.aliases)


def _connected(options: "RayOptions", settings: "Settings", streams: "Streams") -> "Cluster":
    from tulu_cli.engines.ray.cluster import Cluster

    split = settings.get("tensor_parallel_size", 1) * settings.get("pipeline_parallel_size", 1)
    return Cluster(options, split, streams.say)
