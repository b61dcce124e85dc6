"""`tulu doctor`: examine the installation, and name the command that mends each problem."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import ExitCode
from tulu_cli.text import plural

if TYPE_CHECKING:
    from tulu_cli.doctor.finding import Finding
    from tulu_cli.streams import Streams

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
    from tulu_cli.doctor.looks import LOOKS, examine
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
