"""kill -9 of a chat in a terminal at random moments: what it had said to keep is there."""

import os
import random
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chat.repl.terminal import ChatTerminal
from tests.soak.report import Outcome, Share
from tulu_cli.chat.session import Session
from tulu_cli.chat.store.open import open_history

TOKEN_SECONDS = 0.01
MOST_WORDS_LOST = round(1 / TOKEN_SECONDS)  # a second of a running answer, as is promised
LONG, SHORT = 500, 12  # words
MOMENTS = ("typing", "answering", "answered")


def words(count: int) -> str:
    """Return the answer of the fake engine to `fake: words COUNT`."""
    return " ".join(f"w{number}" for number in range(1, count + 1))


@dataclass
class Seen:
    """The questions whose answers were on the screen, each with the whole answer if it was."""

    answers: dict[str, str | None] = field(default_factory=dict)

    def lost(self, found: list[Session]) -> list[str]:
        """Return a sentence for each question, and each whole answer, that is not there."""
        kept: dict[str, list[str]] = {}
        for session in found:
            for node in session.nodes.values():
                if node.role == "user":
                    below = session.children(node.id)
                    kept[node.content] = [one.content for one in below if not one.is_partial]
        return [
            f"the question {question!r} is lost"
            if question not in kept
            else f"the answer to {question!r} is not whole"
            for question, answer in self.answers.items()
            if question not in kept or (answer is not None and answer not in kept[question])
        ]


@contextmanager
def opened(data: Path, *arguments: str) -> Iterator[ChatTerminal]:
    """A chat with the fake engine, at its first prompt."""
    given = ("-m", "demo", "--engine", "fake", "--no-server", *arguments)
    terminal = ChatTerminal(*given, env={"TULU_DATA_DIR": str(data)})
    try:
        terminal.until_prompt()
        yield terminal
    finally:
        terminal.close()


def ask(chat: ChatTerminal, seen: Seen, count: int) -> str:
    """Ask for so many words, and wait for the last of them and for the prompt."""
    question = f"q{len(seen.answers)} fake: words {count}"
    chat.say(question)
    chat.until(f"w{count}")
    chat.until_prompt()
    seen.answers[question] = words(count)
    return question


def sessions(data: Path) -> list[Session]:
    """Return all sessions, the last written first. Raise RuntimeError if the file is damaged."""
    said: list[str] = []
    with closing(open_history(data / "chats" / "history.db", said.append)) as store:
        if said:
            raise RuntimeError(said[0])
        return [store.load(one.id) for one in store.summaries()]


def soak(share: Share) -> Outcome:
    """Kill one chat after the other; all have the same history."""
    dice = share.random("chat")
    data, seen, kills, lost = share.folder / "data", Seen(), Counter[str](), Counter[str]()
    outcome = Outcome(["killed while", "kills", "most words lost of a running answer"])
    for _ in share.rounds():
        moment = dice.choice(MOMENTS)
        kills[moment] += 1
        words_lost = kill(data, seen, moment, dice)
        lost[moment] = max(lost[moment], words_lost)
        if words_lost > MOST_WORDS_LOST:
            outcome.broken.append(f"{words_lost} words of a running answer are lost")
        outcome.broken += problems(data, seen)
    outcome.rows += [(moment, kills[moment], lost[moment]) for moment in MOMENTS if kills[moment]]
    outcome.rows.append(("questions asked", len(seen.answers), ""))
    return outcome


def kill(data: Path, seen: Seen, moment: str, dice: random.Random) -> int:
    """Chat, and kill the program at such a moment; return the words of an answer that are lost."""
    with opened(data, "--engine-arg", f"delay={TOKEN_SECONDS}") as chat:
        ask(chat, seen, 3)
        shown = 0
        if moment == "typing":
            chat.type("a line that is not sent"[: dice.randint(1, 23)])
            time.sleep(dice.uniform(0, 0.3))
        elif moment == "answering":
            question = f"q{len(seen.answers)} fake: words {LONG}"
            chat.say(question)
            end = time.monotonic() + dice.uniform(0, 2)
            chat.until("w5")
            seen.answers[question] = None
            chat.until(lambda: time.monotonic() > end)
            shown = max(int(number) for number in re.findall(r"\bw(\d+)\b", chat.text()))
        else:
            ask(chat, seen, SHORT)
            time.sleep(dice.uniform(0, 0.02))
        os.kill(chat.process.pid, signal.SIGKILL)
        chat.exit_code()
    return max(0, shown - len(sessions(data)[0].path()[-1].content.split()))


def problems(data: Path, seen: Seen) -> list[str]:
    """Return what is wrong with the history: nobody has repaired it yet."""
    with closing(sqlite3.connect(data / "chats" / "history.db")) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        dangling = connection.execute("PRAGMA foreign_key_check").fetchall()
    said = [] if verdict == "ok" else [f"the database is damaged: {verdict}"]
    return [*said, *(f"orphaned: {row}" for row in dangling), *seen.lost(sessions(data))]
