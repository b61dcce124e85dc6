"""`tulu history search`: find the turns that contain words, and show their context."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import Json, history
from tulu_cli.errors import ExitCode, UsageError
from tulu_cli.text import cells, clip, one_line, terminal_safe, to_the_minute

if TYPE_CHECKING:
    from tulu_cli.chat.store.base import Hit
    from tulu_cli.streams import Streams

EXIT_CODES = {0: "Something was found.", 1: "Nothing was found."}

NARROW = 20  # columns that a hit should have at least


def search(
    text: Annotated[list[str], typer.Argument(help="The words to look for.", metavar="TEXT...")],
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, help="Show at most N turns.", metavar="N")
    ] = 50,
    reasoning: Annotated[
        bool,
        typer.Option("--reasoning", help="Look into the thoughts before the answers too."),
    ] = False,
    json_output: Json = False,
    _debug: _options.Debug = False,
) -> int:
    """Find the turns that contain every given word, newest first.

    Case does not matter, and a word may be part of a longer one.
    """
    from tulu_cli.streams import Streams

    words = " ".join(text)
    return run(Streams.standard(), words, limit=limit, reasoning=reasoning, json_output=json_output)


def run(
    streams: "Streams", text: str, *, limit: int, reasoning: bool = False, json_output: bool
) -> int:
    """Print what is found, and return the exit code. Raise UsageError for a text without a word."""
    if not text.strip():
        raise UsageError("There is nothing to look for: give a word.")
    with history(streams) as store:
        hits = store.search(text, limit, thoughts=reasoning)
    if json_output:
        streams.write("".join(f"{as_json(hit)}\n" for hit in hits))
    else:
        for hit in hits:
            show(hit, streams)
    if not hits:
        streams.say("tulu: nothing was found.")
    return ExitCode.OK if hits else ExitCode.FAILURE


def as_json(hit: "Hit") -> str:
    """Return one hit as a line of JSON."""
    from dataclasses import asdict

    return json.dumps(asdict(hit), ensure_ascii=False)


def show(hit: "Hit", streams: "Streams") -> None:
    """Write one hit on a line; on a terminal it fits, with the match in bold if there is colour."""
    who = f"{one_line(hit.role)}{' (thought)' if hit.is_thought else ''}"
    begin = f"{hit.session_id}  {to_the_minute(hit.created)}  {who}: "
    if not streams.stdout_tty:
        streams.write(f"{begin}{hit.before}{hit.match}{hit.after}\n")
        return
    if streams.width < len(begin) + NARROW:
        begin = f"{hit.session_id}  "
    before, match, after = fitted(hit, streams.width - len(begin))
    if streams.color:
        match = f"\x1b[1m{match}\x1b[0m"
    streams.write_styled(f"{begin}{before}{match}{after}\n")


def fitted(hit: "Hit", columns: int) -> tuple[str, str, str]:
    """Return the snippet, safe for a terminal, cut to `columns` around the match."""
    match = clip(terminal_safe(hit.match), columns)
    room = columns - cells(match)
    before = terminal_safe(hit.before)
    if cells(before) > room // 2:
        before = clip(before[::-1], room // 2)[::-1]
    return before, match, clip(terminal_safe(hit.after), room - cells(before))
