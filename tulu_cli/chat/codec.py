"""The records of answers to JSON and back, as the store and the exports hold them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from tulu_cli.chat.session import Record
from tulu_cli.core import Constraint, Done, EngineInfo, Sampling, Timings, Usage

Value = TypeVar("Value")


def record_to_json(record: Record) -> str:
    """The record as a JSON object."""
    return json.dumps(asdict(record), ensure_ascii=False)


def record_from_json(text: str) -> Record:
    """The record in a JSON object of ours."""
    value = json.loads(text)
    done = value["done"]
    made = {
        "engine": _made(EngineInfo, value["engine"]),
        "sampling": _sampling(value["sampling"]),
        "done": None if done is None else _done(done),
    }
    return _made(Record, {**value, **made})


def _sampling(value: Mapping[str, Any]) -> Sampling:
    constraint = value.get("constraint")
    made = {
        "stop": tuple(value.get("stop", ())),
        "constraint": None if constraint is None else _made(Constraint, constraint),
    }
    return _made(Sampling, {**value, **made})


def _done(value: Mapping[str, Any]) -> Done:
    made = {"usage": _made(Usage, value["usage"]), "timings": _made(Timings, value["timings"])}
    return _made(Done, {**value, **made})


def _made(kind: type[Value], value: Mapping[str, Any]) -> Value:
    """A value of that kind; what a later version of the program may have added is left out."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: item for name, item in value.items() if name in names})
