"""The Hub library's progress bars, turned into calls of ours."""

import importlib
import io
import threading
from typing import Any

from tulu_cli.core import Progress


def silent_bar(stage: str, progress: Progress) -> type[Any]:
    """Return a tqdm class that draws nothing and reports the bytes of a download.

    The library makes several: one counts files, one the bytes received and one those written.
    Only bytes are reported, from whichever bar is ahead: without Xet one of them stands still.
    """
    base: Any = importlib.import_module("tqdm.std").tqdm
    lock = threading.Lock()
    reported = 0

    class SilentBar(base):  # type: ignore[misc]
        # A thread of tqdm's would look after bars that stand still, and can trip over new ones.
        monitor_interval = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*args, **options | {"file": io.StringIO(), "disable": False})

        def display(self, *_args: Any, **_options: Any) -> None:
            pass

        def update(self, n: float | None = 1) -> None:
            nonlocal reported
            with lock:
                super().update(n)
                total = int(self.total or 0)
                if self.unit == "B" and total and self.n >= reported:
                    reported = int(self.n)
                    progress(stage, min(reported, total), total)

    return SilentBar


class Meter:
    """Adds up the progress of several files, and reports each of them and all together.

    `report` may be called from several threads; the calls that it makes come one at a time, and
    none after `stop`.
    """

    def __init__(self, stage: str, total: int, progress: Progress) -> None:
        self._stage = stage
        self._total = total
        self._progress = progress
        self._done: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def report(self, name: str, done: int, size: int) -> None:
        """Report the bytes of one file, or raise InterruptedError after `stop`, to end it."""
        with self._lock:
            if self._stopped:
                raise InterruptedError
            self._done[name] = done
            self._progress(self._stage, min(sum(self._done.values()), self._total), self._total)
            self._progress(name, done, size)

    def stop(self) -> None:
        """Report nothing more, and end each download at its next report."""
        with self._lock:
            self._stopped = True
