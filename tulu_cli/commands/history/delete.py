"""`tulu history delete`: delete the sessions that are named."""

from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import Yes, confirm, history, label

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


def delete(
    sessions: Annotated[
        list[str],
        typer.Argument(
            help="The sessions, by id, the beginning of an id, or name.", metavar="ID|NAME..."
        ),
    ],
    yes: Yes = False,
    _debug: _options.Debug = False,
) -> None:
    """Delete sessions with all their branches, for good.

    On a terminal it asks first; elsewhere it needs --yes.
    """
    from tulu_cli.streams import Streams

    run(Streams.standard(), sessions, yes=yes)


def run(streams: "Streams", names: list[str], *, yes: bool) -> None:
    """Delete all sessions that are named, or none. Raise UsageError for an unknown one."""
    from tulu_cli.chat.store.base import find_session

    with history(streams) as store:
        known = {summary.id: summary for summary in store.summaries()}
        found = dict.fromkeys(find_session(known.values(), name) for name in names)
        for session_id in found:
            streams.say(f"tulu: {label(known[session_id])}, {known[session_id].turns} turns")
        what = "it" if len(found) == 1 else f"these {len(found)}"
        if confirm(f"Delete {what}?", streams, yes=yes):
            store.delete(*found)
        else:
            streams.say("tulu: nothing was deleted.")
