"""`tulu doctor`: examine the installation, and name the command that mends each problem."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import ExitCode, NoEngine, TuluError, UsageError
from tulu_cli.text import plural

if TYPE_CHECKING:
    from tulu_cli.doctor.finding import Finding
    from tulu_cli.streams import Streams

Look = Callable[["Streams"], "Iterable[Finding]"]
_COLORS = {"ok": "32", "note": "33", "problem": "31;1"}
_INDENT = 22


EXIT_CODES = {0: "Nothing is broken.", 1: "There is a problem."}


def doctor(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON.")
    ] = False,
    _debug: _options.Debug = False,
) -> None:
    """Check GPUs, libraries, caches, network, terminal and settings, and say how to fix problems.

    Each finding is ok, a note or a problem, with the command that fixes it if there is one.
    """
    from tulu_cli.streams import Streams

    streams = Streams.standard()
    run(streams, examine(streams, LOOKS), json_output=json_output)


def run(streams: "Streams", findings: "Iterable[Finding]", *, json_output: bool) -> None:
    """Print the findings, as they come or as JSON. Raise Exit if one is a problem."""
    found = []
    for finding in findings:
        found.append(finding)
        if not json_output:
            streams.write_styled("".join(f"{line}\n" for line in lines(finding, streams)))
    if json_output:
        streams.write(json.dumps([asdict(one) for one in found], ensure_ascii=False) + "\n")
    problems = sum(one.level == "problem" for one in found)
    if problems:
        streams.say(f"tulu: {plural(problems, 'problem')}.")
        raise typer.Exit(ExitCode.FAILURE)
    streams.say("tulu: nothing is broken.")


def lines(finding: "Finding", streams: "Streams") -> Iterator[str]:
    """Format a finding, the command that fixes it below; wrap it for a terminal."""
    from textwrap import wrap

    from tulu_cli.text import one_line

    level = f"{finding.level:<8}"
    said, mend = one_line(finding.said), one_line(finding.mend or "")
    if streams.color:
        level = f"\x1b[{_COLORS[finding.level]}m{level}\x1b[0m"
    if streams.stdout_tty:
        room = max(streams.width - _INDENT, _INDENT)
        said = f"\n{'':{_INDENT}}".join(wrap(said, room, break_on_hyphens=False))
    yield f"{level} {finding.about:<12} {said}"
    if mend:
        yield f"{'':{_INDENT}}> {mend}"  # a command is copied whole, and so not broken


def examine(streams: "Streams", looks: "dict[str, Look]") -> "Iterator[Finding]":
    """Yield the findings of every look. One that fails is a finding itself and stops no other."""
    from tulu_cli.doctor.finding import Finding

    for about, look in looks.items():
        try:
            yield from look(streams)
        except Exception as error:  # noqa: BLE001  a doctor must not fall ill with the patient
            said = f"It cannot be looked at: {type(error).__name__}: {error}"
            yield Finding("problem", about, said)


def gpus(_streams: "Streams") -> "Iterator[Finding]":
    """Look at the drivers and each GPU."""
    from tulu_cli.doctor.gpus import judge_drivers
    from tulu_cli.machine import read_amd, read_nvidia

    yield from judge_drivers((read_nvidia(), read_amd()), os.environ)


def software(streams: "Streams") -> "Iterator[Finding]":
    """Look at torch and the releases of the engines."""
    from tulu_cli.doctor import software as parts
    from tulu_cli.machine import read_machine
    from tulu_cli.render.talk import status

    machine = read_machine()
    torch = None
    if "torch" in machine.packages:
        with status(streams, "Asking torch ..."):
            torch = parts.read_torch()
    yield from parts.judge_torch(torch, len(machine.gpus))
    versions = machine.packages
    yield from parts.judge_versions(versions, parts.read_requirements(versions))


def engine(_streams: "Streams") -> "Iterator[Finding]":
    """Look which engine would run, which could too, and why another cannot."""
    from tulu_cli.doctor.software import judge_engines
    from tulu_cli.engines.choose import ENGINES, EngineChoice, choose, why_not
    from tulu_cli.machine import read_machine
    from tulu_cli.settings import read_settings

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


def storage(_streams: "Streams") -> "Iterator[Finding]":
    """Look at the disks of the caches, and at the models in them."""
    from tulu_cli.disk import cache_root
    from tulu_cli.doctor.storage import judge_storage, read_models, read_place
    from tulu_cli.models.hub import hub_cache, is_offline

    hub, own = hub_cache(), cache_root()
    places = (
        read_place("models of the Hub", hub, "HF_HOME"),
        read_place("converted models", own, "TULU_CACHE_DIR"),
    )
    models = read_models(hub, own / "converted")
    yield from judge_storage(places, models, offline=is_offline())


def network(_streams: "Streams") -> "Iterator[Finding]":
    """Look at the Hub's token and switches, and at the proxies."""
    from importlib.util import find_spec

    from tulu_cli.doctor.surroundings import judge_hub, judge_proxies, read_token_mode

    yield from judge_hub(os.environ, read_token_mode(os.environ))
    yield from judge_proxies(os.environ, socks=find_spec("socksio") is not None)


def terminal(streams: "Streams") -> "Iterator[Finding]":
    """Look at the terminal."""
    from tulu_cli.doctor.surroundings import judge_terminal, read_terminal, why_no_color

    read = read_terminal(tty=streams.stdout_tty, width=streams.width, color=streams.color)
    yield from judge_terminal(read, why_no_color(os.environ))


def settings(_streams: "Streams") -> "Iterator[Finding]":
    """Look for mistakes in the settings."""
    from tulu_cli.disk import config_path
    from tulu_cli.doctor.surroundings import judge_settings
    from tulu_cli.settings.check import all_problems

    yield from judge_settings(all_problems(os.environ), config_path())


def servers(_streams: "Streams") -> "Iterator[Finding]":
    """Look at the warm engines, and for what dead ones have left."""
    from tulu_cli.doctor.surroundings import judge_servers
    from tulu_cli.warm.finder import folders, is_alive, warm_engines

    left = [folder for folder in folders() if (folder / "order.json").exists()]
    dead = sum(not is_alive(folder) for folder in left)
    yield from judge_servers([warm.order.asked for warm in warm_engines()], dead)


# What is looked at, in this order.
LOOKS: "dict[str, Look]" = {
    "gpus": gpus,
    "software": software,
    "engine": engine,
    "disk": storage,
    "network": network,
    "servers": servers,
    "terminal": terminal,
    "settings": settings,
}
