"""Progress and statistics, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tulu_cli.core import Completion, Drafted, Usage
from tulu_cli.streams import Streams
from tulu_cli.text import terminal_safe

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def stats_line(choices: list[Completion]) -> str:
    """Return a line of token counts, time to first token, and decoding speed of all choices."""
    first = choices[0].done
    usage = Usage.total(choice.done.usage for choice in choices)
    completion_tokens = usage.completion_tokens if usage else 0
    seconds = max(choice.done.timings.total for choice in choices) - first.timings.first_token
    # The first token of each choice came with the prompt.
    later = max(0, completion_tokens - len(choices))
    speed = later / seconds if seconds > 0 else 0.0
    ended = ", ".join(dict.fromkeys(choice.done.finish_reason for choice in choices))
    if usage is None:
        return (
            f"token counts unknown, first token {first.timings.first_token:.2f} s, "
            f"stopped by {ended}"
        )
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    thought = f" ({usage.reasoning_tokens:,} reasoning)" if usage.reasoning_tokens else ""
    drafted = f"{accepted_of(usage.drafted)}, " if usage.drafted else ""
    return (
        f"{usage.prompt_tokens:,} prompt tokens{cached}, "
        f"{completion_tokens:,} completion tokens{thought}, {drafted}"
        f"first token {first.timings.first_token:.2f} s, {speed:.1f} tokens/s, "
        f"stopped by {ended}"
    )


def accepted_of(drafted: Drafted) -> str:
    """Return how many of the drafted tokens were accepted."""
    share = f" ({drafted.accepted / drafted.tokens:.0%})" if drafted.tokens else ""
    return f"{drafted.accepted:,} of {drafted.tokens:,} drafted tokens accepted{share}"


@contextmanager
def progress_on(streams: Streams) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows progress: bars on a terminal's stderr, elsewhere a line a stage.

    Show nothing until there is something to show.
    """
    if not streams.stderr_tty:
        yield _Lines(streams).show
        return
    bars = _Bars()
    try:
        yield bars.show
    finally:
        bars.close()


@contextmanager
def status(streams: Streams, text: str) -> Iterator[None]:
    """Show what is being waited for, on a terminal's stderr."""
    streams.show_status(text)
    try:
        yield
    finally:
        streams.show_status("")


class _Lines:
    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._stages: set[str] = set()

    def show(self, stage: str, _done: int, _total: int) -> None:
        if stage not in self._stages:  # files that come at the same time take turns
            self._stages.add(stage)
            self._streams.say(f"tulu: {stage}")


class _Bars:
    """Show a bar for each stage until it is finished; remove all at the end."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def show(self, stage: str, done: int, total: int) -> None:
        progress = self._progress = self._progress or _opened()
        if stage not in self._bars:
            self._bars[stage] = progress.add_task(terminal_safe(stage), total=None)
        finished = bool(total) and done >= total
        progress.update(
            self._bars[stage], completed=done, total=total or None, visible=not finished
        )

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _opened() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.start()
    return progress
