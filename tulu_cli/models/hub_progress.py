"""The Hub library's progress bars, turned into calls of ours."""

import importlib
import io
import threading
from typing import Any, Self

from tulu_cli.models.progress import Progress


def silent_bar(stage: str, progress: Progress) -> type[Any]:
    """A tqdm class that draws nothing and reports the bytes of a download.

    The library makes several: one counts files, one the bytes received and one those written.
    Only bytes are reported, from whichever bar is ahead: without Xet one of them stands still.
    """
    base: Any = importlib.import_module("tqdm.std").tqdm
    reported = 0

    class SilentBar(base):  # type: ignore[misc]
        # A thread of tqdm's would look after bars that stand still, and can trip over new ones.
        monitor_interval = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **options | {"file": io.StringIO(), "disable": False})

        def display(self, *_args: Any, **_options: Any) -> None:
            nonlocal reported
            total = int(self.total or 0)
            if self.unit == "B" and total and self.n >= reported:
                reported = int(self.n)
                progress(stage, min(reported, total), total)

    return SilentBar


class Meter:
    """Adds up how far several files have come, and reports each of them and all together.

    It may be told from several threads; its own calls come one at a time, and none after `stop`,
    which also ends the files at their next report.
    """

    def __init__(self, stage: str, total: int, progress: Progress) -> None:
        self._stage = stage
        self._total = total
        self._progress = progress
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def show(self, name: str, done: int, size: int) -> None:
        """A file has come so far. Raises InterruptedError after `stop`."""
        with self._lock:
            if self._stopped:
                raise InterruptedError
            self._done[name] = done
            self._progress(self._stage, sum(self._done.values()), self._total)
            self._progress(name, done, size)

    def counter(self, name: str, size: int) -> type[Any]:
        """What the library takes for a progress bar of one file, which begins where that does."""
        meter = self

        class Counter:
            def __init__(self, *_: Any, initial: int = 0, **__: Any) -> None:
                self._done = initial
                self.update(0)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def update(self, count: int) -> None:
                self._done += count
                meter.show(name, self._done, size)

        return Counter

    def say(self, text: str) -> None:
        """Something else that is being done, of no known size."""
        with self._lock:
            if not self._stopped:
                self._progress(text, 0, 0)

    def stop(self) -> None:
        """Report nothing more."""
        with self._lock:
            self._stopped = True
