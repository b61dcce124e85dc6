"""`tulu history prune`: delete old sessions."""

import re
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import Yes, confirm, history
from tulu_cli.errors import UsageError
from tulu_cli.text import ago

if TYPE_CHECKING:
    from tulu_cli.chat.store.base import Summary
    from tulu_cli.streams import Streams

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def prune(
    older_than: Annotated[
        str | None,
        typer.Option(
            help="Delete sessions last written longer ago than this: 90m, 12h, 30d, 8w, 1y.",
            metavar="AGE",
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=0, help="Keep the N newest sessions.", metavar="N")
    ] = None,
    named: Annotated[
        bool, typer.Option("--named", help="Delete sessions with a name too.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("-n", "--dry-run", help="List what would be deleted, and delete nothing."),
    ] = False,
    yes: Yes = False,
    _debug: _options.Debug = False,
) -> None:
    """Delete old sessions, except those with a name.

    With both --older-than and --keep, a session is deleted if it is older than the one and not
    kept by the other. stdout lists the id, age and title of each. On a terminal it asks first;
    elsewhere it needs --yes.
    """
    from tulu_cli.streams import Streams

    if older_than is None and keep is None:
        raise UsageError("Say what is old: --older-than 30d, --keep 100, or both.")
    age = None if older_than is None else seconds_of(older_than)
    run(Streams.standard(), time.time(), age, keep, named=named, dry_run=dry_run, yes=yes)


def run(
    streams: "Streams",
    now: float,
    age: float | None,
    keep: int | None,
    *,
    named: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete what is old, after asking. `now` is in seconds since the epoch, `age` in seconds."""
    with history(streams) as store:
        old = choose(store.summaries(), now, age, keep, named=named)
        for one in old:
            streams.write(f"{one.id}\t{ago(now - one.updated)}\t{one.name or one.title}\n")
        if not old:
            streams.say("tulu: nothing is that old.")
        elif dry_run:
            streams.say(f"tulu: {len(old)} would be deleted.")
        elif confirm(f"Delete these {len(old)}?", streams, yes=yes):
            store.delete(*(one.id for one in old))
            streams.say(f"tulu: {len(old)} deleted.")
        else:
            streams.say("tulu: nothing was deleted.")


def choose(
    summaries: "list[Summary]", now: float, age: float | None, keep: int | None, *, named: bool
) -> "list[Summary]":
    """Return the sessions to delete, of summaries with the newest first. Pure."""
    return [
        one
        for one in summaries[keep or 0 :]
        if (named or one.name is None) and (age is None or now - one.updated > age)
    ]


def seconds_of(text: str) -> float:
    """Return the seconds of an age such as 30d. Raise UsageError for any other text."""
    found = re.fullmatch(r"([0-9]+)([mhdwy])", text)
    if found is None:
        raise UsageError(f"An age is a number and a unit, 90m, 12h, 30d, 8w or 1y; not {text!r}.")
    return int(found[1]) * _SECONDS[found[2]]
