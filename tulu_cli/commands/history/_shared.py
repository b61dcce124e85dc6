"""What the verbs of `tulu history` share: the store, the options, and how times are said."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.chat.store.base import Store, Summary
    from tulu_cli.streams import Streams

SessionName = Annotated[
    str,
    typer.Argument(
        help="The id of a session, the beginning of its id, or its name.", metavar="ID|NAME"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with every field.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]


@contextmanager
def history(streams: "Streams") -> Iterator["Store"]:
    """The history, open. Where there is none yet, none is made. Raises HistoryError."""
    from tulu_cli.chat.store.base import MemoryStore
    from tulu_cli.chat.store.open import history_path, open_history

    path = history_path()
    store: Store = open_history(path, streams.say) if path.exists() else MemoryStore()
    try:
        yield store
    finally:
        store.close()


def confirm(question: str, streams: "Streams", *, yes: bool) -> bool:
    """Whether the user agrees. Raises UsageError where nobody can be asked and `--yes` is not."""
    if yes:
        return True
    if not (streams.stdin_tty and streams.stderr_tty):
        raise UsageError("Nobody is there to be asked: --yes does it without.")
    streams.say(f"{question} [y/N] ")
    answer = streams.stdin.readline()
    return answer.strip().lower() in (b"y", b"yes")


def label(summary: "Summary") -> str:
    """What a sentence calls a session: its name or the beginning of what was said, and its id."""
    return f"{summary.name or summary.title or '(empty)'} ({summary.id})"


def iso_exact(seconds: float) -> str:
    """UTC to the second, as other programs read it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
