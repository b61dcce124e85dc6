"""From events to stdout: the only place where an answer is written."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tulu_cli.core import Completion, Done, FinishReason, Text


class Renderer(Protocol):
    """Show a stream of events as it comes. `completions` is what it has seen so far.

    `finish` must be called, and writes the rest: `cut` is the finish reason of the choices that
    have not ended themselves.
    """

    @property
    def completions(self) -> "list[Completion]": ...

    def show(self, event: "Text | Done") -> None: ...

    def finish(self, cut: "FinishReason") -> None: ...
