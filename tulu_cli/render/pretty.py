"""The answer as Markdown on a terminal, written as it comes."""

import locale
from copy import copy
from dataclasses import dataclass

from tulu_cli.core import Completion, Done, FinishReason, Text
from tulu_cli.render.collector import Collector, has_begun
from tulu_cli.render.live import redraw
from tulu_cli.render.markdown.document import Document
from tulu_cli.render.markdown.rows import Row, theme
from tulu_cli.render.thoughts import HiddenThought, ThoughtView, show_whole
from tulu_cli.streams import Streams
from tulu_cli.text import terminal_safe

TAIL_ROWS = 6  # rows that may be live
REDRAWN = 0.7  # bytes for the tail's changes, for each byte of the answer
SLACK = 512
LINE_PART = 64  # the part of a line that has to be new before all of it is laid out again
# A carriage return that a line feed may follow, and a joiner: some terminals join what is drawn
# next to whatever is drawn after that, wherever it is.
WAITS = ("\r", "\u200d")
SEPARATOR = "---"


class PrettyRenderer:
    """Stream the first choice; the others follow when they are complete, after a `---` line.

    A row that nothing can change any more is written once, into the normal scrollback. Below it,
    the tail of at most TAIL_ROWS rows is redrawn in place, less often if its changes are too many
    bytes. What was written stays when the terminal's size changes. Thoughts are shown in
    `thoughts`, above their answers.
    """

    def __init__(
        self, streams: Streams, collector: Collector, thoughts: ThoughtView | None = None
    ) -> None:
        self._collector = collector
        self._streams = streams
        self._thoughts = thoughts or HiddenThought()
        self._first = Answer(streams)

    @property
    def completions(self) -> list[Completion]:
        """Return the choices as far as they have come."""
        return self._collector.completions

    def show(self, event: Text | Done) -> None:
        """Draw the text of the first choice, and keep the rest."""
        self._collector.add(event)
        if isinstance(event, Done) or event.index != 0:
            return
        if event.channel == "thought":
            self._thoughts.add(event.text, len(event.token_ids))
            return
        if event.text:
            self._thoughts.fold()
        self._first.add(event.text)

    def finish(self, cut: FinishReason) -> None:
        """Settle what is drawn, then draw the other choices that were begun."""
        self._collector.cut = cut
        first, *others = self.completions
        self._thoughts.close()
        self._first.finish(first.text)
        for completion in others:
            if has_begun(completion, cut):
                self._streams.write(f"{SEPARATOR}\n")
                show_whole(completion, self._thoughts)
                Answer(self._streams).finish(completion.text)


class Answer:
    """Draw one answer from a fresh line on; `finish` alone draws a whole one."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        look = theme(color=streams.color, utf8=is_utf8(locale.getencoding()))
        columns = streams.size().columns
        self._state = _State(Document(look, columns), columns)

    def add(self, text: str) -> None:
        """Draw a piece of the answer."""
        self._step(text)

    def finish(self, text: str) -> None:
        """Settle the answer; `text` is all of it, as a signal may have cut off the last piece."""
        self._step(text[self._state.taken :], ended=True)

    def _step(self, text: str, *, ended: bool = False) -> None:
        # A signal may come at any time: all is made ready first, and then is true at once.
        state = copy(self._state)
        drawn = state.step(text, *self._streams.size(), ended=ended)
        self._state = state
        if drawn:
            self._streams.write_styled(drawn)


@dataclass
class _State:
    """Hold what has been taken, and what of it is on the screen."""

    document: Document
    width: int
    live: tuple[Row, ...] = ((),)  # the cursor is at the end of the last one
    taken: int = 0  # characters
    drawn: int = 0  # of those, how many the tail showed when it was drawn last
    received: int = 0  # bytes
    written: int = 0  # bytes
    held: str = ""  # the character of WAITS that it ends with so far

    def step(self, text: str, columns: int, lines: int, *, ended: bool) -> str:
        """Take a piece, and return what to write."""
        self.document = self.document.copy()
        settled = self._resize(columns)
        self.taken += len(text)
        self.received += len(text.encode(errors="replace"))
        settled = settled + self.document.feed(self._safe(text, ended=ended))
        if ended:
            return self._draw([*settled, *self.document.finish()], [()])
        if self._may_draw():
            tail = self.document.tail(max(1, min(TAIL_ROWS, lines - 1))) or [()]
            if self._excess(len(redraw(self.live, [*settled, *tail]))) <= 0:
                self.drawn = self.taken
                return self._draw(settled, tail)
        return self._draw(settled, [()]) if settled else ""

    def _resize(self, columns: int) -> list[Row]:
        if columns == self.width:
            return []
        self.width = columns
        # How the terminal has broken the old rows anew is not known: none of them is relied on.
        self.live = tuple(((" ", "0"),) for _ in self.live)
        return self.document.resize(columns)

    def _safe(self, text: str, *, ended: bool) -> str:
        text, self.held = self.held + text, ""
        if text.endswith(WAITS) and not ended:
            text, self.held = text[:-1], text[-1]
        return terminal_safe(text.replace("\r\n", "\n"))

    def _may_draw(self) -> bool:
        """Return True if the tail is due: a long line is not laid out anew for each word of it."""
        new = self.taken - self.drawn
        return new * LINE_PART >= self.document.pending and self._excess(0) <= 0

    def _draw(self, settled: list[Row], tail: list[Row]) -> str:
        """Draw the rows that stay, and under them the tail."""
        drawn = redraw(self.live, [*settled, *tail])
        self.live = tuple(tail)
        self.written += len(drawn.encode(errors="replace"))
        return drawn

    def _excess(self, more: int) -> float:
        """Return the bytes that the tail has cost above its limit."""
        return self.written + more - self.document.spent - REDRAWN * self.received - SLACK


def is_utf8(encoding: str) -> bool:
    """Return True if an encoding has the signs of a theme."""
    return encoding.lower().replace("-", "") == "utf8"
