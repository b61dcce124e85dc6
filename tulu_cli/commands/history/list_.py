"""`tulu history list`: list the sessions, newest first."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import Json, history, iso_exact

if TYPE_CHECKING:
    from tulu_cli.chat.store.base import Summary
    from tulu_cli.streams import Streams


def list_(
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", min=1, help="Show at most N sessions.", metavar="N"),
    ] = None,
    json_output: Json = False,
    _debug: _options.Debug = False,
) -> None:
    """List the sessions, newest first.

    A pipe gets lines of tab-separated fields: id, time (UTC), turns, name and title.
    """
    from tulu_cli.streams import Streams

    run(Streams.standard(), time.time(), limit=limit, json_output=json_output)


def run(streams: "Streams", now: float, *, limit: int | None, json_output: bool) -> None:
    """Print the list. `now` is in seconds since the epoch."""
    with history(streams) as store:
        summaries = store.summaries()[:limit]
    if json_output:
        streams.write(json.dumps(list(map(as_value, summaries)), ensure_ascii=False) + "\n")
    elif not streams.stdout_tty:
        streams.write("".join(as_fields(summary) for summary in summaries))
    elif summaries:
        streams.write("".join(f"{line}\n" for line in table(summaries, streams.width, now)))
    if not summaries:
        streams.say("tulu: there are no sessions yet; `tulu chat` begins one.")


def as_value(summary: "Summary") -> dict[str, Any]:
    """Return a summary as an object for JSON; the times are UTC."""
    from dataclasses import asdict

    times = {name: iso_exact(getattr(summary, name)) for name in ("created", "updated")}
    return asdict(summary) | times


def as_fields(summary: "Summary") -> str:
    """Return a line for other programs; no field holds a tab or a line end."""
    fields = (summary.id, iso_exact(summary.updated), str(summary.turns), summary.name or "")
    return "\t".join((*fields, summary.title)) + "\n"


def table(summaries: "list[Summary]", width: int, now: float) -> list[str]:
    """Return lines that fit `width`: a narrow terminal shows fewer columns."""
    from tulu_cli.render.columns import aligned
    from tulu_cli.text import ago, clip, one_line, to_the_minute

    kept = [0, *([1] if width >= 80 else []), *([2, 3] if width >= 50 else []), 4]
    rows = []
    for one in summaries:
        title = one_line(f"[{one.name}] {one.title}" if one.name else one.title)
        when = (to_the_minute(one.updated), ago(now - one.updated))
        cells = (one.id, *when, str(one.turns), title)
        rows.append([cells[column] for column in kept])
    return [clip(line, width) for line in aligned(rows, right=[kept.index(3)] if 3 in kept else [])]
