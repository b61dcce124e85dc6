"""`tulu history export`: write sessions to a file, for people or other programs."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import history
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.chat.export import Format
    from tulu_cli.chat.session import Session
    from tulu_cli.chat.store.base import Store
    from tulu_cli.streams import Streams


def export(
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            help="The sessions, by id, the beginning of an id, or name.  "
            "[default: the last session]",
            metavar="ID|NAME",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format: markdown, html, jsonl (messages, as in the Tülu 3 SFT mixture), openai, "
            "sharegpt, or tulu (all branches, and how each answer was made).  "
            "[default: by the ending of FILE, else markdown]",
            metavar="FILE-FORMAT",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", help="Write to FILE instead of stdout.", metavar="FILE|-"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Export every session.")] = False,
    branches: Annotated[
        bool, typer.Option("--branches", help="Export each branch as a conversation of its own.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    _debug: _options.Debug = False,
) -> None:
    """Export sessions as Markdown, HTML or JSON.

    Only the current branch of each session is exported, unless you give --branches. stderr names
    what the format cannot hold.
    """
    from tulu_cli.chat.export import format_named, format_of
    from tulu_cli.streams import Streams

    if everything and sessions:
        raise UsageError("--all and the name of a session cannot be combined.")
    chosen = format_named(form) if form else format_of(output or "-", "markdown")
    streams = Streams.standard()
    with history(streams) as store:
        found = [
            branch
            for session in selected(store, sessions or [], everything=everything)
            for branch in (ends_of(session) if branches else [session])
        ]
    file = None if output in (None, "-") else output
    run(streams, found, chosen, file, force=force)


def run(
    streams: "Streams", sessions: "list[Session]", form: "Format", file: str | None, *, force: bool
) -> None:
    """Write the sessions. Raise UsageError if the format cannot hold them."""
    said = [session for session in sessions if session.conversation()]
    if not said:
        raise UsageError("There is nothing to export: nothing was said.")
    if len(said) > 1 and not form.holds_many:
        raise UsageError(
            f"{form.name} holds one conversation, and these are {len(said)}: use --format jsonl."
        )
    text = form.write(said)
    if file is None:
        streams.write(text)
    else:
        save(text, Path(file), force=force)
    say_losses(streams, said, form)


def selected(store: "Store", names: list[str], *, everything: bool) -> "list[Session]":
    """Return the sessions that are named, by default the last one. Raise UsageError."""
    from tulu_cli.chat.store.base import find_session

    summaries = store.summaries()
    if not summaries:
        raise UsageError("There are no sessions yet.")
    if everything:
        ids = [one.id for one in reversed(summaries)]  # the oldest first
    else:
        ids = [find_session(summaries, name) for name in names] or [summaries[0].id]
    return [store.load(session_id) for session_id in ids]


def ends_of(session: "Session") -> "list[Session]":
    """Return the session once for each of its branches, with its head at that end."""
    parents = {node.parent for node in session.nodes.values()}
    return [replace(session, head=node_id) for node_id in session.nodes if node_id not in parents]


def say_losses(streams: "Streams", sessions: "list[Session]", form: "Format") -> None:
    """Say what the file does not hold, added up over the sessions."""
    from collections import Counter

    from tulu_cli.chat.export import losses

    lost: Counter[str] = Counter()
    for session in sessions:
        lost.update(losses(session, form))
    if lost:
        what = ", ".join(f"{count:,} {name}" for name, count in lost.items())
        streams.say(f"tulu: {form.name} does not hold: {what}; --format tulu does.")


def save(text: str, path: Path, *, force: bool) -> None:
    """Write the file, whole or not at all. Raise UsageError if it exists."""
    if path.exists() and not force:
        raise UsageError(f"{str(path)!r} exists: --force writes over it.")
    from tulu_cli.disk import replace_atomically, writing

    with writing(path):
        replace_atomically(path, text.encode(), mode=0o644)
