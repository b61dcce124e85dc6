"""Collect the events of a stream, which every renderer keeps, and show them as plain text."""

import time

from tulu_cli.core import Channel, Completion, Done, FinishReason, Text, Timings, Usage
from tulu_cli.render.thoughts import HiddenThought, ThoughtView, show_whole
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
        return Completion.of(pieces, self._done.get(index) or self._unfinished(index, pieces))

    def _unfinished(self, index: int, pieces: list[Text]) -> Done:
        now = time.perf_counter()
        first = self._first.get(index, now) - self._started
        timings = Timings(0.0, first, now - self._started)
        usage = None
        if self._prompt_tokens is not None:
            counts = {"answer": 0, "thought": 0}
            for piece in pieces:
                counts[piece.channel] += len(piece.token_ids)
            thought = counts["thought"]
            usage = Usage(self._prompt_tokens, sum(counts.values()), reasoning_tokens=thought)
        return Done(self.cut, usage, timings, self._seed + index, index=index)


def has_begun(completion: Completion, cut: FinishReason) -> bool:
    """Return True unless a choice was cut, with this finish reason, before anything came of it."""
    said = completion.text or completion.reasoning or completion.token_ids
    return bool(said) or completion.done.finish_reason != cut


SEPARATOR = "---\n"


class PlainRenderer:
    """Stream the first choice; the others follow when they are complete, after a `---` line.

    The output is the text of one `channel`, the answer or the thought, and ends with a line end,
    which is added if the model wrote none. Thoughts beside the answers are shown in `thoughts`.
    """

    def __init__(
        self,
        streams: Streams,
        collector: Collector,
        thoughts: ThoughtView | None = None,
        channel: Channel = "answer",
    ) -> None:
        self._streams = streams
        self._collector = collector
        self._thoughts = thoughts or HiddenThought()
        self._channel = channel
        self._last = "\n"

    @property
    def completions(self) -> list[Completion]:
        """Return the choices as far as they have come."""
        return self._collector.completions

    def show(self, event: Text | Done) -> None:
        """Write the text of the first choice, and keep the rest."""
        self._collector.add(event)
        if isinstance(event, Done) or event.index != 0:
            return
        if event.channel == self._channel:
            if event.text:
                self._thoughts.fold()
            self._write(event.text)
        elif event.channel == "thought":
            self._thoughts.add(event.text, len(event.token_ids))

    def finish(self, cut: FinishReason) -> None:
        """Write the other choices that were begun, and the last line end."""
        self._collector.cut = cut
        self._thoughts.close()
        self._end_line()
        for completion in self.completions[1:]:
            if has_begun(completion, cut):
                self._write(SEPARATOR)
                show_whole(completion, self._thoughts)
                is_answer = self._channel == "answer"
                self._write(completion.text if is_answer else completion.reasoning or "")
                self._end_line()

    def _write(self, text: str) -> None:
        if text:
            self._last = text[-1]  # first: a signal arrives while we write more often than not
            self._streams.write(text)

    def _end_line(self) -> None:
        if self._last != "\n":
            self._write("\n")
