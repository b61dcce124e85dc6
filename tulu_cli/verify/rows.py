"""A row with answers: what `tulu batch` writes, or an answer beside its dataset and label."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.verify.verdict import Answer

LABEL = "ground_truth"
# Where an answer may stand, and several; that of a conversation is its last message.
_ONE = ("response", "completion", "output", "text")
_SEVERAL = ("choices", "responses", "completions")
# What tells that a row is a record of ours, whose choices begin with its text.
_RECORD = "finish_reason"


@dataclass(frozen=True, slots=True)
class Row:
    """A row's answers, one or several, and what they are verified by.

    `is_list` says that the row has a list of answers, be it a list of one.
    """

    answers: tuple[Answer, ...]
    label: object
    dataset: object
    is_list: bool = False


def read_row(value: Any, label_key: str = LABEL) -> Row:
    """Return what a row says. Raise BadInput if it has no answer, or more than one place of it."""
    if isinstance(value, list):
        raise BadInput("it is an array: give each row a line of its own.")
    if not isinstance(value, dict):
        raise BadInput("it must be a JSON object.")
    place, answers = _answers(value)
    return Row(
        tuple(answers),
        _column(value, label_key),
        _column(value, "dataset"),
        is_list=place in _SEVERAL,
    )


def _column(row: Mapping[str, Any], key: str) -> object:
    """Return a column of a row, which a record of `tulu batch` has under `columns`."""
    columns = row.get("columns")
    if key not in row and isinstance(columns, dict):
        return columns.get(key)
    return row.get(key)


def _answers(row: Mapping[str, Any]) -> tuple[str, list[Answer]]:
    places = [key for key in (*_SEVERAL, *_ONE) if row.get(key) is not None]
    if "choices" in places and "text" in places:
        places.remove("text")  # the first of the choices, in a record of ours
    if not places:
        return "messages", [_last_message(row)]
    if len(places) > 1:
        raise BadInput(f"it has {' and '.join(places)}: only one of them can be its answer.")
    (place,) = places
    found = row[place]
    if place == "response" and isinstance(found, dict):  # of OpenAI's batch API
        body = found.get("body")
        place, found = "choices", body.get("choices") if isinstance(body, dict) else None
    if place in _ONE:
        return place, [_answer(found, place, row.get(_RECORD))]
    if not isinstance(found, list) or not found:
        raise BadInput(f"its {place} must be a list of answers.")
    reason = row.get(_RECORD)
    reasons = reason if isinstance(reason, list) else [reason] * len(found)
    if len(reasons) != len(found):
        raise BadInput(f"it has {len(found)} {place} and {len(reasons)} finish reasons.")
    return place, [
        _answer(one, f"{place}[{at}]", why)
        for at, (one, why) in enumerate(zip(found, reasons, strict=True))
    ]


def _answer(found: Any, place: str, reason: object) -> Answer:
    """Return an answer: a text, messages of which it is the last, or an object that holds it."""
    if isinstance(found, list) and found and isinstance(found[-1], dict):
        found = found[-1]
    if isinstance(found, dict):
        reason = found.get(_RECORD, reason)
        inner = found.get("message")
        found = found.get("text", (inner if isinstance(inner, dict) else found).get("content"))
    if not isinstance(found, str):
        kind = "null" if found is None else f"a {type(found).__name__}"
        raise BadInput(f"its {place} must be a text, and it is {kind}.")
    if reason is not None and not isinstance(reason, str):
        raise BadInput("its finish_reason must be a text.")
    return Answer(found, reason)


def _last_message(row: Mapping[str, Any]) -> Answer:
    error = row.get("error")
    if error:
        message = error.get("message") if isinstance(error, dict) else error
        raise BadInput(f"it was not answered: {message}")
    messages = row.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "assistant":
        places = ", ".join((*_ONE, *_SEVERAL))
        raise BadInput(
            f"it has no answer: none of {places}, and no message of an assistant at its end."
        )
    return _answer(last, "last message", row.get(_RECORD))
