"""Sessions of known ages, and terminals with a width."""

import io
from collections.abc import Callable

from tulu_cli.chat.session import Session
from tulu_cli.chat.store.sqlite import SqliteStore
from tulu_cli.streams import Streams

NOW = 1_800_000_000.0
DAY = 86400.0
Run = Callable[..., tuple[str, str, int]]


def kept(store: SqliteStore, *sessions: Session, days: float = 0) -> None:
    """Write sessions so many days before NOW."""
    store._clock = lambda: NOW - days * DAY
    for session in sessions:
        store.write(session)


def terminal(typed: bytes = b"", width: int = 80, *, color: bool = False) -> Streams:
    streams = Streams.test(typed, tty=True, color=color)
    streams.width = width
    return streams


def shown(streams: Streams) -> str:
    assert isinstance(streams.stdout, io.BytesIO)
    return streams.stdout.getvalue().decode()


def talk(streams: Streams) -> str:
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stderr.getvalue().decode()
