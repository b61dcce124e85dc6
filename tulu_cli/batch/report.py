"""What is said while a batch runs: one line that is renewed, or one a minute where none can be."""

import time
from collections.abc import Callable

from tulu_cli.batch.progress import Counts
from tulu_cli.streams import Streams

TERMINAL_SECONDS = 0.2
LOG_SECONDS = 60.0


class Reporter:
    """Says on stderr how far it has come, at most so often that it costs nothing."""

    def __init__(
        self, streams: Streams, counts: Counts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._streams = streams
        self._counts = counts
        self._clock = clock
        self._every = TERMINAL_SECONDS if streams.stderr_tty else LOG_SECONDS
        self._last = clock()

    def tick(self) -> None:
        """Something has happened: say so if it is time."""
        now = self._clock()
        if now - self._last >= self._every:
            self._last = now
            line = self._counts.line(now)
            if self._streams.stderr_tty:
                self._streams.show_status(line)
            else:
                self._streams.say(f"tulu: {line}")

    def end(self, how: str = "") -> None:
        """The last line, which stays."""
        self._streams.show_status("")
        self._streams.say(f"tulu: {self._counts.line(self._clock())}{how}")
