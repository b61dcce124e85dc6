"""Votes on answers whose models are not named: their file, and what they say of the models."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from tulu_cli.batch.journal import Key, parsed
from tulu_cli.comparison.answers import Compared
from tulu_cli.disk import reading
from tulu_cli.errors import BadInput
from tulu_cli.render.columns import aligned
from tulu_cli.statistics import mcnemar, wilson
from tulu_cli.text import one_line, plural

TIE = "tie"
LETTERS = ascii_uppercase[:16]  # Q and T are other keys of a voter


def order(count: int, one: Compared, seed: int) -> list[int]:
    """Return the places of the answers as they are shown, drawn by the seed for each row."""

    def drawn(place: int) -> bytes:
        text = f"{seed}-{one.line}-{one.row:016x}-{place}"
        return blake2b(text.encode(), digest_size=8).digest()

    return sorted(range(count), key=drawn)


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote on the answers of `models`: the place of the best one, or None for a tie."""

    models: tuple[str, ...]
    winner: int | None


@dataclass(frozen=True, slots=True)
class Ballot:
    """What all votes of a file have in common: the models, the seed of the order, the answers.

    `settings` is a hash of it all, which the keys of the votes have.
    """

    models: tuple[str, ...]
    seed: int
    settings: int

    def record(self, one: Compared, winner: int | None, *, is_drawn: bool = True) -> str:
        """Return the line of a vote. It was not `is_drawn` where equal answers needed no voter."""
        shown = order(len(self.models), one, self.seed)
        letter = TIE if winner is None else LETTERS[shown.index(winner)]
        made: dict[str, Any] = {"line": one.line, "id": one.id, "prompt": prompt_object(one)}
        made |= {
            "vote": letter,
            "winner": None if winner is None else self.models[winner],
            "by": "voter" if is_drawn else "equal answers",
            "order": [self.models[place] for place in shown],
            "models": list(self.models),
            "answers": [answer and answer.text for answer in one.answers],
            "seed": self.seed,
            "key": str(Key(one.line, one.row, self.settings)),
        }
        return json.dumps(made, ensure_ascii=False)


def prompt_object(one: Compared) -> Any:
    """Return the prompt of a row for JSON: a text, or messages; None if it is not known."""
    if one.prompt is None or isinstance(one.prompt, str):
        return one.prompt
    return [message.as_dict() for message in one.prompt]


def is_vote(record: Any) -> bool:
    """Return True for a record that is a vote."""
    return isinstance(record, dict) and "vote" in record and isinstance(record.get("models"), list)


def read_votes(path: Path) -> Iterator[tuple[Vote, int]]:
    """Yield the votes of a file, each with the seed of its order. Raise BadInput.

    A last line without an end, as a kill leaves it, is no vote.
    """
    name = repr(str(path))
    with reading(name), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = parsed(line)
            if record is None and not line.endswith(b"\n"):
                return
            vote = _vote(record) if is_vote(record) else None
            if vote is None:
                raise BadInput(f"{name}, line {number:,}, is not a vote of tulu compare.")
            yield vote, record["seed"]


def _vote(record: dict[str, Any]) -> Vote | None:
    models, winner = record["models"], record.get("winner")
    known = all(isinstance(one, str) for one in models) and len(models) > 1
    if not known or type(record.get("seed")) is not int:
        return None
    if record["vote"] == TIE:
        return Vote(tuple(models), None)
    return Vote(tuple(models), models.index(winner)) if winner in models else None


@dataclass
class Tally:
    """Votes counted: how often each model was the best one, and how often none was."""

    models: tuple[str, ...]
    wins: Counter[int] = field(default_factory=Counter)
    ties: int = 0

    @classmethod
    def of(cls, votes: Iterable[Vote], source: str) -> "Tally":
        """Count the votes of a file. Raise BadInput if there are none, or of other models."""
        made: Tally | None = None
        for number, vote in enumerate(votes, 1):
            made = made or cls(vote.models)
            if vote.models != made.models:
                raise BadInput(f"{source}, line {number:,}, is a vote on other models than line 1.")
            made.add(vote.winner)
        if made is None:
            raise BadInput(f"{source} has no votes.")
        return made

    def add(self, winner: int | None) -> None:
        """Count one more vote."""
        if winner is None:
            self.ties += 1
        else:
            self.wins[winner] += 1

    @property
    def decided(self) -> int:
        """Return how many votes are for a model."""
        return self.wins.total()

    def rate(self, place: int) -> tuple[float, float, float]:
        """Return the win rate of a model, ties aside, with Wilson's 95 % interval."""
        if not self.decided:
            return math.nan, 0.0, 1.0
        value = self.wins[place] / self.decided
        return value, *wilson(value, self.decided)

    def signs(self) -> list[tuple[int, int, float]]:
        """Return each two models with the exact two-sided p of the sign test between them."""
        pairs = combinations(range(len(self.models)), 2)
        return [(one, two, mcnemar(self.wins[one], self.wins[two])) for one, two in pairs]

    def as_object(self) -> dict[str, Any]:
        """Return the counts, rates and tests for JSON."""
        rates = [self.rate(place) for place in range(len(self.models))]
        return {
            "votes": self.decided + self.ties,
            "ties": self.ties,
            "models": [
                {
                    "model": model,
                    "wins": self.wins[place],
                    "win_rate": None if math.isnan(value) else round(value, 6),
                    "interval": [round(low, 6), round(high, 6)],
                }
                for place, (model, (value, low, high)) in enumerate(
                    zip(self.models, rates, strict=True)
                )
            ],
            "interval_method": "Wilson, 95 %, ties aside",
            "sign_tests": [
                {"models": [self.models[one], self.models[two]], "p": round(p, 6)}
                for one, two, p in self.signs()
            ],
        }

    def as_lines(self) -> list[str]:
        """Return the summary for a person."""
        rows = [("model", "wins", "win rate", "95 % interval")]
        for place, model in enumerate(self.models):
            value, low, high = self.rate(place)
            shown = "-" if math.isnan(value) else f"{100 * value:.1f} %"
            between = f"{100 * low:.1f} to {100 * high:.1f} %"
            rows.append((one_line(model), f"{self.wins[place]:,}", shown, between))
        total = plural(self.decided + self.ties, "vote")
        lines = [*aligned(rows, right=(1, 2, 3)), f"{total}, {plural(self.ties, 'tie')}"]
        for one, two, p in self.signs():
            names = f"{one_line(self.models[one])} and {one_line(self.models[two])}"
            verdict = "chance explains the difference" if p >= 0.05 else "they differ"
            lines.append(f"{names}: {verdict} (exact sign test, p = {p:.3f})")
        return [*lines, "Win rates leave ties aside; the intervals are Wilson's."]
