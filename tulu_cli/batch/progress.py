"""How far a batch has come: counts, and what they say of the time that is left."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tulu_cli.batch.records import Answer, usage_object
from tulu_cli.batch.scoring import Scored
from tulu_cli.core import Completion, Drafted, Usage, total_drafted
from tulu_cli.engines.fleet import Report
from tulu_cli.errors import TuluError
from tulu_cli.render.jsonl import drafted_fields
from tulu_cli.render.talk import accepted_of
from tulu_cli.streams import Streams
from tulu_cli.text import duration, plural


@dataclass
class Counts:
    """What has been done since `started`, in seconds of the clock that `line` is given.

    `share` is the part of the input that has been read, 0 to 1, where its size is known. Where it
    is known how many rows are to be answered, they are `expected`, and tell more of the time left.
    `drafted` is None before the first answer, and from the first one on that does not tell it.
    `members` says what each of several servers or workers has done, and `noun` which they are.
    """

    started: float
    finished_before: int = 0
    answered: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    drafted: Drafted | None = None
    share: float | None = None
    expected: int | None = None
    members: Callable[[], Sequence[Report]] = tuple
    noun: str = "server"

    @property
    def rows(self) -> int:
        """Rows with a record, those of earlier runs aside."""
        return self.answered + self.errors

    @property
    def are_tokens_known(self) -> bool:
        """False where a server does not count: no answer comes of a prompt without tokens."""
        return self.prompt_tokens > 0 or not self.answered

    def add(self, answer: Answer) -> None:
        """Count one more answer."""
        if isinstance(answer, TuluError):
            self.errors += 1
            return
        self.answered += 1
        if usage := usage_object(answer):
            self.prompt_tokens += usage["prompt_tokens"]
            self.completion_tokens += usage["completion_tokens"]
        told = None if isinstance(answer, Scored) else _drafted(answer)
        self.drafted = told if self.answered == 1 else total_drafted((self.drafted, told))

    def line(self, now: float) -> str:
        """Return the counts, the speeds and the time left, for a person."""
        seconds = max(now - self.started, 1e-9)
        of = f"{self.rows:,} of " if self.expected else ""
        parts = [of + plural(self.expected or self.rows, "row")]
        if self.finished_before:
            parts[0] += f" after {self.finished_before:,} before"
        if self.errors:
            parts.append(plural(self.errors, "error"))
        if self.are_tokens_known:
            parts.append(f"{self.prompt_tokens / seconds:,.0f} tokens/s in")
            parts.append(f"{self.completion_tokens / seconds:,.0f} out")
        if self.drafted is not None:
            parts.append(accepted_of(self.drafted))
        if share := self.rows / self.expected if self.expected else self.share:
            left = seconds / share - seconds
            parts.append(f"{share:.0%}, {duration(left)} left")
        return ", ".join(parts)

    def member_lines(self, now: float) -> list[str]:
        """Return what each of several servers or workers has done, in the order of their names."""
        seconds = max(now - self.started, 1e-9)
        lines = []
        for one in sorted(self.members(), key=lambda one: one.name):
            parts = [plural(one.answers, "row"), f"{one.tokens / seconds:,.0f} tokens/s out"]
            if one.errors:
                parts.append(plural(one.errors, "error"))
            if one.losses:
                parts.append(f"{one.losses:,} given to others")
            if one.state != "open":
                parts.append(one.state)
            lines.append(f"{one.name}: {', '.join(parts)}")
        return lines

    def summary(self, now: float) -> dict[str, Any]:
        """Return the counts, speeds and times as values for `--stats`."""
        seconds, members = now - self.started, self.members()
        return {
            "rows": self.rows,
            "answered": self.answered,
            "errors": self.errors,
            "finished_before": self.finished_before,
            "prompt_tokens": self.prompt_tokens if self.are_tokens_known else None,
            "completion_tokens": self.completion_tokens if self.are_tokens_known else None,
            **drafted_fields(self.drafted),
            "seconds": round(seconds, 3),
            "rows_per_second": round(self.rows / seconds, 3) if seconds > 0 else None,
            **({f"{self.noun}s": [asdict(one) for one in members]} if members else {}),
        }


def _drafted(answer: list[Completion]) -> Drafted | None:
    usage = Usage.total(choice.done.usage for choice in answer)
    return None if usage is None else usage.drafted


TERMINAL_SECONDS = 0.2
# A log is told once early, since that says how long the rest will take.
FIRST_LOG_SECONDS, LOG_SECONDS = 30.0, 60.0


class Reporter:
    """Says on stderr how far it has come, at most so often that it costs nothing.

    Each line begins with the `label`.
    """

    def __init__(
        self,
        streams: Streams,
        counts: Counts,
        clock: Callable[[], float] = time.monotonic,
        *,
        label: str = "",
    ) -> None:
        self._streams = streams
        self._counts = counts
        self._clock = clock
        self._label = label
        self._pause = TERMINAL_SECONDS if streams.stderr_tty else FIRST_LOG_SECONDS
        self._last = clock()

    def tick(self) -> None:
        """Something has happened: say so if it is time."""
        now = self._clock()
        if now - self._last >= self._pause:
            self._last = now
            line = self._label + self._counts.line(now)
            members = self._counts.member_lines(now)
            if self._streams.stderr_tty:
                self._streams.show_status(" | ".join((line, *members)))
            else:
                for one in (line, *members):
                    self._streams.say(f"tulu: {one}")
                self._pause = LOG_SECONDS

    def end(self, how: str = "") -> None:
        """Write the last line, which stays."""
        self._streams.show_status("")
        now = self._clock()
        for one in self._counts.member_lines(now):
            self._streams.say(f"tulu: {one}")
        self._streams.say(f"tulu: {self._label}{self._counts.line(now)}{how}")
