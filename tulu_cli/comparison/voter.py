"""Who votes: a person at a terminal, by single keys, or the lines of a pipe."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from tulu_cli.comparison.votes import TIE
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.streams import Streams

_TIES = ("t", TIE)
_LEAVES = ("q", "quit")
_ENDS = {b"": "q", b"\x04": "q"}  # the end of the terminal, and Ctrl-D on one


class Voter(Protocol):
    """Says which of the answers under these letters is the best one.

    `ask` returns a letter, TIE, or None from who leaves. Raise BadInput.
    """

    def ask(self, letters: Sequence[str]) -> str | None: ...


@contextmanager
def voter(streams: Streams, *, is_stdin_taken: bool) -> Iterator[Voter]:
    """Yield who votes: stdin, or the terminal itself where stdin has been the rows.

    Raise UsageError where there is no terminal.
    """
    if not is_stdin_taken:
        yield Keys(streams, streams.stdin.fileno()) if streams.stdin_tty else Lines(streams.stdin)
        return
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            "There is no terminal to vote on, and stdin has the rows: name a file of rows."
        ) from error
    try:
        yield Keys(streams, descriptor)
    finally:
        os.close(descriptor)


class Lines:
    """Reads a vote from each line, as a program or a file gives them."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._count = 0

    def ask(self, letters: Sequence[str]) -> str | None:
        """Return the vote of the next line that is not blank."""
        while line := self._source.readline():
            self._count += 1
            if text := line.decode("utf-8", "replace").strip():
                if text.lower() in _LEAVES:
                    return None
                vote = understood(text, letters)
                if vote is None:
                    raise BadInput(
                        f"Line {self._count:,} of the votes is {text[:40]!r}: {wanted(letters)}."
                    )
                return vote
        return None


class Keys:
    """Reads a vote from one key on a terminal, which is asked for as often as needed."""

    def __init__(self, streams: Streams, descriptor: int) -> None:
        self._streams = streams
        self._descriptor = descriptor

    def ask(self, letters: Sequence[str]) -> str | None:
        """Return the vote of a key. Keys that were pressed before the question are no vote."""
        with self._unbuffered():
            while True:
                self._streams.talk(f"{wanted(letters)}, q to stop: ")
                try:
                    data = os.read(self._descriptor, 1)
                except OSError:  # the terminal has hung up
                    return None
                except BaseException:  # a Ctrl-C, or another signal
                    self._streams.talk("\n")
                    raise
                key = _ENDS.get(data) or data.decode("utf-8", "replace")
                vote, left = understood(key, letters), key.lower() in _LEAVES
                self._streams.talk(f"{'stopped' if left else vote or '?'}\n")
                if left or vote is not None:
                    return vote

    @contextmanager
    def _unbuffered(self) -> Iterator[None]:
        """Have keys without Enter inside, after dropping those that were pressed before."""
        import termios
        import tty

        before = termios.tcgetattr(self._descriptor)
        try:
            tty.setcbreak(self._descriptor, termios.TCSAFLUSH)
            yield
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, before)


def understood(text: str, letters: Sequence[str]) -> str | None:
    """Return the letter or TIE that a text stands for, None if it is neither."""
    if text.lower() in _TIES:
        return TIE
    return text.upper() if text.upper() in letters else None


def wanted(letters: Sequence[str]) -> str:
    """Return what a voter can say."""
    return f"{', '.join(letters)} or t for a tie"
