"""The answer as text, written as it comes."""

from tulu_cli.core import Completion, Done, FinishReason, Text
from tulu_cli.render.collector import Collector
from tulu_cli.streams import Streams

SEPARATOR = "---\n"


class PlainRenderer:
    """Streams the first choice; the others follow when they are complete, behind a `---` line.

    What is written ends with a line end, of ours if the model wrote none.
    """

    def __init__(self, streams: Streams, collector: Collector) -> None:
        self._streams = streams
        self._collector = collector
        self._last = "\n"

    @property
    def completions(self) -> list[Completion]:
        """What has come so far."""
        return self._collector.completions

    def show(self, event: Text | Done) -> None:
        """Write what belongs to the first choice, keep the rest."""
        self._collector.add(event)
        if isinstance(event, Text) and event.index == 0:
            self._write(event.text)

    def finish(self, cut: FinishReason) -> None:
        """Write the other choices, as far as they were begun, and the last line end."""
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
