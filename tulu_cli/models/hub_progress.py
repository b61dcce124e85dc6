"""The Hub library's progress bars, turned into calls of ours."""

import importlib
import io
from typing import Any

from tulu_cli.models.progress import Progress


def silent_bar(stage: str, progress: Progress) -> type[Any]:
    """A tqdm class that draws nothing and reports the bytes of a download.

    The library makes several: one counts files, one the bytes received and one those written.
    Only bytes are reported, from whichever bar is ahead: without Xet one of them stands still.
    """
    base: Any = importlib.import_module("tqdm.std").tqdm
    reported = 0

    class SilentBar(base):  # type: ignore[misc]
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
