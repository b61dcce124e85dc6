"""What the doctor looks at, one look after the other."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec

from tulu_cli.disk import cache_root, config_path
from tulu_cli.doctor.finding import Finding
from tulu_cli.doctor.gpus import judge_drivers
from tulu_cli.doctor.software import (
    judge_engines,
    judge_torch,
    judge_versions,
    read_requirements,
    read_torch,
)
from tulu_cli.doctor.storage import judge_storage, read_models, read_place
from tulu_cli.doctor.surroundings import (
    judge_hub,
    judge_proxies,
    judge_servers,
    judge_settings,
    judge_terminal,
    read_terminal,
    read_token_mode,
    why_no_color,
)
from tulu_cli.engines.choose import ENGINES, EngineChoice, choose, why_not
from tulu_cli.errors import NoEngine, TuluError, UsageError
from tulu_cli.machine import read_amd, read_machine, read_nvidia
from tulu_cli.models.hub import hub_cache, is_offline
from tulu_cli.render.talk import status
from tulu_cli.settings import read_settings
from tulu_cli.settings.check import all_problems
from tulu_cli.streams import Streams
from tulu_cli.warm.finder import folders, is_alive, warm_engines

Look = Callable[[Streams], Iterable[Finding]]


def examine(streams: Streams, looks: Mapping[str, Look]) -> Iterator[Finding]:
    """Yield the findings of every look. One that fails is a finding itself and stops no other."""
    for about, look in looks.items():
        try:
            yield from look(streams)
        except Exception as error:  # noqa: BLE001  a doctor must not fall ill with the patient
            said = f"It cannot be looked at: {type(error).__name__}: {error}"
            yield Finding("problem", about, said)


def gpus(_streams: Streams) -> Iterator[Finding]:
    """Look at the drivers and each GPU."""
    yield from judge_drivers((read_nvidia(), read_amd()), os.environ)


def software(streams: Streams) -> Iterator[Finding]:
    """Look at torch and the releases of the engines."""
    machine = read_machine()
    torch = None
    if "torch" in machine.packages:
        with status(streams, "Asking torch ..."):
            torch = read_torch()
    yield from judge_torch(torch, len(machine.gpus))
    versions = machine.packages
    yield from judge_versions(versions, read_requirements(versions))


def engine(_streams: Streams) -> Iterator[Finding]:
    """Look which engine would run, which could too, and why another cannot."""
    refusal = None
    try:
        wanted = read_settings({}).get("engine", "auto")
    except TuluError:
        wanted = "auto"  # the look at the settings says why
    machine = read_machine()
    try:
        choice = choose(wanted, machine)
    except (NoEngine, UsageError) as error:
        choice, refusal = EngineChoice("", ()), str(error)
    names = ENGINES if choice.engine in ("", *ENGINES) else (*ENGINES, choice.engine)
    problems = {name: why_not(name, machine) for name in names}
    yield from judge_engines(problems, choice.engine, dict(choice.reasons), refusal)


def storage(_streams: Streams) -> Iterator[Finding]:
    """Look at the disks of the caches, and at the models in them."""
    hub, own = hub_cache(), cache_root()
    places = (
        read_place("models of the Hub", hub, "HF_HOME"),
        read_place("converted models", own, "TULU_CACHE_DIR"),
    )
    models = read_models(hub, own / "converted")
    yield from judge_storage(places, models, offline=is_offline())


def network(_streams: Streams) -> Iterator[Finding]:
    """Look at the Hub's token and switches, and at the proxies."""
    yield from judge_hub(os.environ, read_token_mode(os.environ))
    yield from judge_proxies(os.environ, socks=find_spec("socksio") is not None)


def terminal(streams: Streams) -> Iterator[Finding]:
    """Look at the terminal."""
    read = read_terminal(tty=streams.stdout_tty, width=streams.width, color=streams.color)
    yield from judge_terminal(read, why_no_color(os.environ))


def settings(_streams: Streams) -> Iterator[Finding]:
    """Look for mistakes in the settings."""
    yield from judge_settings(all_problems(os.environ), config_path())


def servers(_streams: Streams) -> Iterator[Finding]:
    """Look at the warm engines, and for what dead ones have left."""
    left = [folder for folder in folders() if (folder / "order.json").exists()]
    dead = sum(not is_alive(folder) for folder in left)
    yield from judge_servers([warm.order.asked for warm in warm_engines()], dead)


# What is looked at, in this order.
LOOKS: Mapping[str, Look] = {
    "gpus": gpus,
    "software": software,
    "engine": engine,
    "disk": storage,
    "network": network,
    "servers": servers,
    "terminal": terminal,
    "settings": settings,
}
