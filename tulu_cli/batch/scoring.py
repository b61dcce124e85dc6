"""The scores of a row's completions as one answer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from tulu_cli.core import Score, ScoreRequest
from tulu_cli.errors import TuluError


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a row's completions, in their order.

    `prompt_tokens` are those before the first one.
    """

    scores: tuple[Score, ...]
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        """The tokens that were scored, of all completions."""
        return sum(len(score.tokens) for score in self.scores)


class ScoringEngine(Protocol):
    """The part of an engine that is needed here."""

    def score(
        self, requests: Iterable[ScoreRequest]
    ) -> Iterator[tuple[int, Score | TuluError]]: ...


@dataclass(frozen=True, slots=True)
class RowScorer:
    """Has an engine score rows of completions: a row's answer comes when its last score has."""

    engine: ScoringEngine

    def batch(
        self, rows: Iterable[Sequence[ScoreRequest]]
    ) -> Iterator[tuple[int, Scored | TuluError]]:
        """Yield each row's scores with its position; a row's first error is its answer."""
        waiting: dict[int, dict[int, Score | TuluError]] = {}
        asked: dict[int, Sequence[ScoreRequest]] = {}
        owners: dict[int, tuple[int, int]] = {}

        def requests() -> Iterator[ScoreRequest]:
            number = 0
            for position, row in enumerate(rows):
                waiting[position], asked[position] = {}, row
                for index, request in enumerate(row):
                    owners[number] = position, index
                    number += 1
                    yield request

        with closing(self.engine.score(requests())) as answers:  # type: ignore[type-var]
            for number, score in answers:
                position, index = owners.pop(number)
                waiting[position][index] = score
                if len(waiting[position]) == len(asked[position]):
                    yield position, scored(asked.pop(position), waiting.pop(position))


def scored(
    row: Sequence[ScoreRequest], answers: Mapping[int, Score | TuluError]
) -> Scored | TuluError:
    """Return a row's answer, made of the scores of its completions by their number."""
    scores = []
    for index in range(len(row)):
        answer = answers[index]
        if isinstance(answer, TuluError):
            return answer
        scores.append(answer)
    return Scored(tuple(scores), row[0].context_tokens)
