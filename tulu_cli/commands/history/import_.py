"""`tulu history import`: read conversations from files into new sessions."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.chat.session import Session
    from tulu_cli.chat.store.base import Store
    from tulu_cli.streams import Streams


def import_(
    files: Annotated[
        list[str], typer.Argument(help="The files to read; - is stdin.", metavar="FILE|-...")
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format: markdown, html, or jsonl for any JSON.  [default: by the ending of FILE, "
            "else JSON]",
            metavar="FILE-FORMAT",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name the session, if there is only one.", metavar="NAME")
    ] = None,
    _debug: _options.Debug = False,
) -> None:
    """Import conversations from files, and print the ids of the new sessions.

    JSON may be one conversation, an array of them, or one on each line, in the format of OpenAI,
    ShareGPT or the Tülu 3 SFT mixture. If any file cannot be read, nothing is imported.
    """
    from tulu_cli.chat.store.open import history_path, open_history
    from tulu_cli.streams import Streams

    streams = Streams.standard()
    sessions = [one for file in files for one in read(file, form, streams)]
    if name is not None and len(sessions) != 1:
        raise UsageError(f"--name is for one session, and these are {len(sessions)}.")
    store = open_history(history_path(), streams.say)
    try:
        run(streams, store, sessions, name)
    finally:
        store.close()


def run(
    streams: "Streams", store: "Store", sessions: "list[Session]", name: str | None = None
) -> None:
    """Store the sessions under new ids, and print these."""
    from tulu_cli.chat.session import new_stamp
    from tulu_cli.chat.store.base import checked_name

    if name is not None:
        sessions = [replace(session, name=checked_name(name)) for session in sessions]
    taken = {summary.name for summary in store.summaries()}
    for session in sessions:
        new = replace(session, id=new_stamp().id)
        if name is None and new.name in taken:
            new = replace(new, name=None)
        store.write(new)
        streams.write(f"{new.id}\n")


def read(file: str, form: str | None, streams: "Streams") -> "list[Session]":
    """Return the sessions in a file. Raise BadInput, which says where it is wrong."""
    from tulu_cli.chat.export import format_named, format_of
    from tulu_cli.disk import reading
    from tulu_cli.text import shown

    chosen = format_named(form) if form else format_of(file, "jsonl")
    if file == "-":
        return chosen.read(streams.read(), "stdin")
    with reading(shown(file)):
        data = Path(file).read_bytes()
    return chosen.read(data, shown(file))
