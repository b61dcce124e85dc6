"""Answers to the same rows, of two or more outputs of `tulu batch`, brought together by row."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tulu_cli.batch.journal import name_of, parsed
from tulu_cli.batch.outputs import Output
from tulu_cli.batch.rows import BadRow, Row
from tulu_cli.core import Conversation
from tulu_cli.errors import BadInput


@dataclass(frozen=True, slots=True)
class Answer:
    """What an output has for a row: a text, or the `error` why there is none."""

    text: str
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    seed: int | None = None
    reasoning: str | None = None
    reasoning_truncated: bool = False
    error: str | None = None
    others: int = 0

    def as_object(self) -> dict[str, Any]:
        """Return the answer for JSON."""
        if self.error is not None:
            return {"text": None, "finish_reason": "error", "usage": None, "error": self.error}
        thought: dict[str, Any] = {} if self.reasoning is None else {"reasoning": self.reasoning}
        if self.reasoning_truncated:
            thought["reasoning_truncated"] = True
        return thought | {
            "text": self.text,
            "finish_reason": self.finish_reason,
            "usage": self.usage,
            "seed": self.seed,
        }


def read_answer(record: Mapping[str, Any], source: str) -> Answer:
    """Return the answer in a record, in our format or in OpenAI's. Raise BadInput for scores.

    Of several answers it is the first; `others` counts the rest.
    """
    if error := record.get("error"):
        said = error.get("message") if isinstance(error, dict) else error
        return Answer("", error=str(said))
    response = record.get("response")
    if isinstance(response, dict):
        body = response.get("body")
        return _openai_answer(body if isinstance(body, dict) else {}, source)
    text = record.get("text")
    if not isinstance(text, str):
        raise BadInput(f"{source} has no answer: scores cannot be compared.")
    choices = record.get("choices")
    return Answer(
        text,
        record.get("finish_reason"),
        record.get("usage"),
        record.get("seed"),
        record.get("reasoning"),
        record.get("reasoning_truncated") is True,
        others=len(choices) - 1 if isinstance(choices, list) and choices else 0,
    )


def _openai_answer(body: Mapping[str, Any], source: str) -> Answer:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choices, list) or not isinstance(first, dict):
        raise BadInput(f"{source} has no answer.")
    message = first.get("message")
    held = message if isinstance(message, dict) else {"content": first.get("text")}
    text = held.get("content")
    return Answer(
        text if isinstance(text, str) else "",
        first.get("finish_reason"),
        body.get("usage"),
        reasoning=held.get("reasoning_content"),
        reasoning_truncated=first.get("reasoning_truncated") is True,
        others=len(choices) - 1,
    )


# A row of the input: the hash of its text, and which of the rows with that text it is, from 0.
RowKey = tuple[int, int]


class Side:
    """The answers of one of the models, by row. `label` is what the user calls the model."""

    def __init__(self, label: str, output: Output) -> None:
        self.label = label
        self.settings: set[int] = set()
        self._output = output
        self._rows: dict[RowKey, tuple[int, int]] = {}
        self.lines: dict[RowKey, int] = {}
        found: dict[int, dict[int, tuple[int, int]]] = {}
        for key, offset, length, _ in output.records():
            self.settings.add(key.settings)
            found.setdefault(key.row, {})[key.line] = offset, length
        for row, places in found.items():
            # Line numbers differ where a row stands in two inputs; their order counts.
            for count, line in enumerate(sorted(places)):
                self._rows[row, count] = places[line]
                self.lines[row, count] = line

    @property
    def is_torn(self) -> bool:
        """Return True if the last record of the output was not finished."""
        return self._output.is_torn

    @property
    def name(self) -> str:
        """Return what sentences call the output."""
        return self._output.name

    def keys(self) -> set[RowKey]:
        """Return the rows that have a record."""
        return set(self._rows)

    def record(self, key: RowKey) -> Mapping[str, Any] | None:
        """Return the record of a row, None if there is none. Raise BadInput if the file changed."""
        place = self._rows.get(key)
        if place is None:
            return None
        record = parsed(self._output.read(*place))
        if not isinstance(record, dict):
            raise BadInput(f"{self.name} was changed while it was read.")
        return record

    def answer(self, key: RowKey) -> Answer | None:
        """Return the answer to a row, None if there is none. Raise BadInput."""
        record = self.record(key)
        source = f"{self.name}, row {self.lines.get(key, 0):,},"
        return None if record is None else read_answer(record, source)


@dataclass(frozen=True, slots=True)
class Compared:
    """One row with the answer of each side, None where a side has none.

    `line` is that of the input, or where that is not known, of the first output that has the row.
    """

    line: int
    row: int
    id: str | None
    prompt: Conversation | str | None
    answers: tuple[Answer | None, ...]

    @property
    def is_whole(self) -> bool:
        """Return True if every side has answered."""
        return all(answer is not None and answer.error is None for answer in self.answers)

    @property
    def is_same(self) -> bool:
        """Return True if every side has given the same text."""
        return self.is_whole and len({one.text for one in self.answers if one is not None}) == 1


def compared(
    sides: Sequence[Side], rows: Iterable[Row | BadRow] | None = None, *, whole: bool = True
) -> Iterator[Compared]:
    """Yield what the sides have for each row, in the order of the input. Raise BadInput.

    `rows` is the input, where it is known; otherwise the order is that of the lines in the first
    output. With `whole`, only rows that have a record in every output are given.
    """
    if rows is None:
        known = dict(chain.from_iterable(side.lines.items() for side in reversed(sides)))
        for key in sorted(known, key=lambda one: known[one]):
            yield from _one(sides, key, known[key], None, whole=whole)
        return
    counts: Counter[int] = Counter()
    for row in rows:
        key = row.digest, counts[row.digest]
        counts[row.digest] += 1
        yield from _one(sides, key, row.line, row, whole=whole)


def _one(
    sides: Sequence[Side], key: RowKey, line: int, row: Row | BadRow | None, *, whole: bool
) -> Iterator[Compared]:
    answers = tuple(side.answer(key) for side in sides)
    if any(answer is None for answer in answers) and (whole or answers.count(None) == len(answers)):
        return
    name = row.id if row is not None else _id(sides, key)
    yield Compared(line, key[0], name, row.prompt if isinstance(row, Row) else None, answers)


def _id(sides: Sequence[Side], key: RowKey) -> str | None:
    record = next((found for side in sides if (found := side.record(key)) is not None), {})
    return name_of(record)


def unpaired(sides: Sequence[Side]) -> list[int]:
    """Return how many rows of each side not every other one has a record of."""
    common = set.intersection(*(side.keys() for side in sides))
    return [len(side.keys()) - len(common) for side in sides]
