"""A program that chats and says what its reader has seen, to be killed at any moment.

    python -m tests.chat.writer HISTORY [at-end]

After each turn that is in the store it prints `asked SESSION NODE`, and after each piece of an
answer `said NODE PIECES SECONDS`. Piece number n is the text `n `. With `at-end` it keeps a turn
and its answer when the answer is complete, as programs do that log a finished response.
"""

import sys
import time
from pathlib import Path

from tests.chat.sessions import INFO, SAMPLING, done
from tulu_cli.chat.session import Record, Session, new_stamp
from tulu_cli.chat.store.base import MemoryStore, Store
from tulu_cli.chat.store.open import open_store
from tulu_cli.chat.turn import Writing

PIECES = 800
PAUSE_SECONDS = 0.005


def text_of(pieces: int) -> str:
    """The answer after so many pieces."""
    return "".join(f"{number} " for number in range(pieces))


def answer(store: Store, session: Session) -> Session:
    """One answer, piece by piece."""
    session = session.answer(Record(INFO, SAMPLING), new_stamp())
    node_id = session.head or ""
    store.write(session, session.nodes[node_id])
    with Writing(store, session) as writing:
        for number in range(PIECES):
            writing.add(node_id, f"{number} ")
            print("said", node_id, number + 1, time.monotonic(), flush=True)
            time.sleep(PAUSE_SECONDS)
        writing.end(node_id, done())
    return writing.session


def main(path: str, mode: str = "often") -> None:
    """Chat until killed."""
    disk = open_store(Path(path), lambda line: print(line, file=sys.stderr))
    store = MemoryStore() if mode == "at-end" else disk
    at = new_stamp()
    session = Session(at.id, at.at)
    while True:
        session = session.ask("Count.", new_stamp())
        question = session.nodes[session.head or ""]
        store.write(session, question)
        print("asked", session.id, question.id, flush=True)
        session = answer(store, session)
        if store is not disk:
            disk.write(session, question, session.nodes[session.head or ""])


if __name__ == "__main__":
    main(*sys.argv[1:])
