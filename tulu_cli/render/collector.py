"""Collect the events of a stream, which every renderer keeps, and show them as plain text."""

import time

from tulu_cli.core import Completion, Done, FinishReason, Text, Timings, Usage
from tulu_cli.streams import Streams


class Collector:
    """Collect the events of `n` choices; the clock starts now.

    A choice that has not ended has the finish reason `cut`, and times measured here.
    """

    def __init__(self, n: int, prompt_tokens: int | None, seed: int) -> None:
        self.cut: FinishReason = "interrupted"
        self._pieces: list[list[Text]] = [[] for _ in range(n)]
        self._done: dict[int, Done] = {}
        self._first: dict[int, float] = {}
        self._prompt_tokens = prompt_tokens
        self._seed = seed
        self._started = time.perf_counter()

    def add(self, event: Text | Done) -> None:
        """Add an event of the stream."""
        if isinstance(event, Done):
            self._done[event.index] = event
        else:
            self._first.setdefault(event.index, time.perf_counter())
            self._pieces[event.index].append(event)

    @property
    def completions(self) -> list[Completion]:
        """Return the choices in order, as far as they have come."""
        return [self._completion(index) for index in range(len(self._pieces))]

    def _completion(self, index: int) -> Completion:
        pieces = self._pieces[index]
        tokens = sum(len(piece.token_ids) for piece in pieces)
        return Completion.of(pieces, self._done.get(index) or self._unfinished(index, tokens))

    def _unfinished(self, index: int, tokens: int) -> Done:
        now = time.perf_counter()
        first = self._first.get(index, now) - self._started
        timings = Timings(0.0, first, now - self._started)
        usage = None if self._prompt_tokens is None else Usage(self._prompt_tokens, tokens)
        return Done(self.cut, usage, timings, self._seed + index, index=index)


SEPARATOR = "---\n"


class PlainRenderer:
    """Stream the first choice; the others follow when they are complete, after a `---` line.

    The output ends with a line end, which is added if the model wrote none.
    """

    def __init__(self, streams: Streams, collector: Collector) -> None:
        self._streams = streams
        self._collector = collector
        self._last = "\n"

    @property
    def completions(self) -> list[Completion]:
        """Return the choices as far as they have come."""
        return self._collector.completions

    def show(self, event: Text | Done) -> None:
        """Write the text of the first choice, and keep the rest."""
        self._collector.add(event)
        if isinstance(event, Text) and event.index == 0:
            self._write(event.text)

    def finish(self, cut: FinishReason) -> None:
        """Write the other choices that were begun, and the last line end."""
        self._collector.cut = cut
        self._end_line()
        for completion in self.completions[1:]:
            if completion.text or completion.token_ids or completion.done.finish_reason != cut:
                self._write(SEPARATOR)
                self._write(completion.text)
                self._end_line()

    def _write(self, text: str) -> None:
        if text:
            self._last = text[-1]  # first: a signal arrives while we write more often than not
            self._streams.write(text)

    def _end_line(self) -> None:
        if self._last != "\n":
            self._write("\n")
