"""How a thought is shown: beside the answer, and never in it."""

from typing import Literal, Protocol

from tulu_cli.core import Completion
from tulu_cli.streams import Streams

Reasoning = Literal["show", "hide", "only"]


class ThoughtView(Protocol):
    """Show the thought of one choice after the other. An empty thought shows nothing.

    `add` takes a piece of it, with its number of tokens where that is known. Then comes `fold`,
    when an answer follows, or `close`, when none does.
    """

    def add(self, text: str, tokens: int = 0) -> None: ...

    def fold(self) -> None: ...

    def close(self) -> None: ...


class HiddenThought:
    """Show nothing."""

    def add(self, text: str, tokens: int = 0) -> None:
        """Drop a piece."""

    def fold(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class SpokenThought:
    """Write the thought to stderr as it comes; dim, and with a blank line behind, on a terminal."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._last = ""

    def add(self, text: str, tokens: int = 0) -> None:  # noqa: ARG002 (they are not shown)
        """Write a piece."""
        if text:
            self._last = text[-1]
            self._streams.talk(text, faint=self._streams.stderr_tty and self._streams.color)

    def fold(self) -> None:
        """End the last line: what is written stays."""
        if self._last:
            ends = ("" if self._last == "\n" else "\n") + "\n" * self._streams.stderr_tty
            self._last = ""
            self._streams.talk(ends)

    def close(self) -> None:
        """End the last line."""
        self.fold()


def show_whole(completion: Completion, view: ThoughtView) -> None:
    """Show the thought of a choice that has ended, above its answer."""
    if completion.reasoning is None:
        return
    usage = completion.done.usage
    view.add(completion.reasoning, usage.reasoning_tokens if usage else 0)
    if completion.text:
        view.fold()
    view.close()
