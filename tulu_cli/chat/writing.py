"""Answers on their way into the store, while the engine writes them."""

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from tulu_cli.chat.session import Session
from tulu_cli.chat.store import Store
from tulu_cli.core import Done
from tulu_cli.errors import HistoryError

# What was read on the screen for longer than a second must not be lost, whatever happens then.
EVERY_SECONDS = 0.5


class Writing:
    """Keeps the answers that were begun in a session, and that this program is to end.

        with Writing(store, session) as writing:
            writing.add(node_id, text)      # as often as the engine says something
            writing.end(node_id, done)
        session = writing.session

    A thread of its own writes what has come, so that an engine that is silent delays nothing. At
    the end all is written, whatever ended it; an answer without an `end` counts as interrupted.
    """

    def __init__(self, store: Store, session: Session, every: float = EVERY_SECONDS) -> None:
        self._store = store
        self._session = session
        self._every = every
        self._pieces: dict[str, list[str]] = {}
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_often)

    @property
    def session(self) -> Session:
        """The session with all that has come."""
        with self._lock:
            self._take()
            return self._session

    def add(self, node_id: str, text: str) -> None:
        """More text of an answer; costs next to nothing."""
        with self._lock:
            self._pieces.setdefault(node_id, []).append(text)

    def end(self, node_id: str, done: Done) -> None:
        """An answer has come to its end."""
        with self._lock:
            self._take()
            self._session = self._session.extend(node_id, "", done)
            self._changed.add(node_id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()  # a Ctrl-C here stops the waiting and not the thread
        self._write()

    def _write_often(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stop.wait(self._every)
            with suppress(HistoryError):  # the end tries again, and raises it
                self._write()

    def _write(self) -> None:
        with self._lock:
            self._take()
            session, changed, self._changed = self._session, self._changed, set()
        try:
            if changed:
                self._store.write(session, *(session.nodes[node_id] for node_id in changed))
        except HistoryError:
            with self._lock:
                self._changed |= changed
            raise

    def _take(self) -> None:
        pieces, self._pieces = self._pieces, {}
        for node_id, texts in pieces.items():
            self._session = self._session.extend(node_id, "".join(texts))
            self._changed.add(node_id)
