"""A row with its verdicts: what is written of it, and what that says again when it is read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.rows import parse_line
from tulu_cli.verify.rows import LABEL, Row, read_row
from tulu_cli.verify.rules import Chooser, Rule, verify
from tulu_cli.verify.verdict import Answer, Verdict, reward

_KEYS = ("rule", "verified", "reward", "extracted", "why", "verdicts")


@dataclass(frozen=True)
class Judge:
    """Verifies rows: `label` is the column that holds what the answers are compared with."""

    chooser: Chooser
    label: str = LABEL

    def read(self, line: bytes, place: str) -> tuple[dict[str, Any], Row, Rule]:
        """Return the row of a line, what it says, and its rule. Raise BadInput."""
        value = parse_line(line, place)
        row = read_row(value, self.label)
        return value, row, self.chooser.rule(row.dataset)

    def record(self, line: bytes, place: str) -> "tuple[dict[str, Any], Tally]":
        """Return the row of a line with its verdicts, or with the reason why it has none.

        Verdicts that it has already are replaced. Raise TuluError for what no row can help.
        """
        value: Any = None
        try:
            value = parse_line(line, place)
            row = read_row(value, self.label)
            told = verdicts(row, self.chooser.rule(row.dataset))
        except BadInput as error:
            bad = bad_record(place, error)
            return _plain(value) | bad, Tally("", error=bad["error"]["message"])
        return {**_plain(value), **told}, _tally(told, row)

    def columns(self, columns: Mapping[str, Any], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return what a row with these columns gets for its answers. Raise BadInput for its label.

        Several are a list, as in what `tulu batch` writes.
        """
        label, dataset = columns.get(self.label), columns.get("dataset")
        row = Row(tuple(answers), label, dataset, is_list=len(answers) > 1)
        return verdicts(row, self.chooser.rule(dataset))


def verdicts(row: Row, rule: Rule) -> dict[str, Any]:
    """Return the columns that a row gets: those of its answer, or a list where it has a list.

    Raise BadInput for a label that is none.
    """
    made = [_columns(verify(rule, answer.text, row.label), answer) for answer in row.answers]
    return {"rule": rule.name, **({"verdicts": made} if row.is_list else made[0])}


def _columns(verdict: Verdict, answer: Answer) -> dict[str, Any]:
    why = verdict.why
    if answer.is_cut:
        why += f"; without its end token ({answer.finish_reason})"
    return {
        "verified": verdict.verified,
        "reward": reward(verdict, answer),
        "extracted": verdict.extracted,
        "why": why,
    }


def _plain(value: Any) -> dict[str, Any]:
    """Return a row without verdicts of an earlier time; what is not an object, under `row`."""
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key not in _KEYS}
    return {} if value is None else {"row": value}


def bad_record(place: str, error: BadInput) -> dict[str, Any]:
    """Return what is written of a row that cannot be verified, with its place."""
    told = str(error)
    message = told if told.startswith(place) else f"{place}: {told}"
    return {"error": {"code": "bad_input", "message": message}}


@dataclass(frozen=True, slots=True)
class Graded:
    """One answer as the summary counts it. `length` is in characters."""

    verified: bool
    reward: float
    is_cut: bool
    length: int


@dataclass(frozen=True, slots=True)
class Tally:
    """A row as the summary counts it: with an error, it has no answers."""

    rule: str
    answers: tuple[Graded, ...] = ()
    error: str | None = None


def tally(record: Mapping[str, Any]) -> Tally:
    """Return what a written record adds to the summary. Raise BadInput if it is not one."""
    if "rule" not in record:
        error = record.get("error")
        if not isinstance(error, dict):
            raise BadInput("it is not a row of tulu verify.")
        return Tally("", error=str(error.get("message")))
    row = read_row({key: item for key, item in record.items() if key not in _KEYS})
    try:
        return _tally(record, row)
    except (TypeError, KeyError, ValueError) as error:
        raise BadInput("it is not a row of tulu verify.") from error


def _tally(told: Mapping[str, Any], row: Row) -> Tally:
    each = zip(told.get("verdicts", (told,)), row.answers, strict=True)
    graded = tuple(
        Graded(bool(one["verified"]), float(one["reward"]), answer.is_cut, len(answer.text))
        for one, answer in each
    )
    return Tally(str(told["rule"]), graded)


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def encode(record: Mapping[str, Any]) -> str:
    """Return a record as a line of JSON."""
    return _ENCODER.encode(record) + "\n"
