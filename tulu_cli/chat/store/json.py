"""Sessions and the records of answers as JSON, for the store and the exports."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tulu_cli.chat.session import Node, Record, Session
from tulu_cli.core import Constraint, Done, Drafted, EngineInfo, Sampling, Timings, Usage
from tulu_cli.errors import BadInput

Value = TypeVar("Value")


def record_to_json(record: Record) -> str:
    """Return the record as a JSON object."""
    value = asdict(record)
    if record.adapter is None:
        del value["adapter"]
    return json.dumps(value, ensure_ascii=False)


# What reading JSON of another form raises.
DAMAGE = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


def record_from_json(text: str) -> Record:
    """Return the record in a JSON object that `record_to_json` made. Raise one of DAMAGE."""
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
    made = {"usage": _usage(value["usage"]), "timings": _made(Timings, value["timings"])}
    return _made(Done, {**value, **made})


def _usage(value: Mapping[str, Any] | None) -> Usage | None:
    """Return the counts, or None if nobody counted, which older versions wrote as a prompt of 0."""
    if not value or not value["prompt_tokens"]:
        return None
    drafted = value.get("drafted")
    return _made(Usage, {**value, "drafted": drafted and _made(Drafted, drafted)})


def _made(kind: type[Value], value: Mapping[str, Any]) -> Value:
    """Return a value of that kind, without the fields that only a later version knows.

    Raise TypeError for a field that is missing or of another type.
    """
    types = _types(kind)  # type: ignore[arg-type]  # a class is hashable
    known = {name: item for name, item in value.items() if name in types}
    for name, item in known.items():
        if not _fits(item, types[name]):
            raise TypeError(f"{name} is {item!r}")
    return kind(**known)


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, kind: Any) -> bool:
    """Return True if the value is of a type, as far as the fields of records use types."""
    of, parts = get_origin(kind), get_args(kind)
    if of in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if of is Literal:
        return value in parts
    if of is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    if of is Mapping:
        return isinstance(value, Mapping) and all(_fits(one, parts[1]) for one in value.values())
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


# Tells a dump from the formats of others, and this form of it from later ones.
VERSION_KEY, VERSION = "tulu_session", 1
YEAR_9999 = 253_402_300_800  # seconds since the epoch; no calendar of ours goes further


def session_to_value(session: Session) -> dict[str, Any]:
    """Return all of a session as a JSON value, with each finish reason spelled out."""
    return {
        VERSION_KEY: VERSION,
        "id": session.id,
        "name": session.name,
        "created": session.created,
        "system": session.system,
        "head": session.head,
        "undone": list(session.undone),
        "nodes": [_node_to_value(node) for node in session.nodes.values()],
    }


def session_from_value(value: Mapping[str, Any], source: str) -> Session:
    """Return the session in a value of `session_to_value`. Raise BadInput if it is not a tree."""
    if value.get(VERSION_KEY) != VERSION:
        raise BadInput(f"{source} is of a newer tulu: {VERSION_KEY} {value.get(VERSION_KEY)!r}.")
    try:
        return _checked(_session(value))
    except DAMAGE as error:
        raise BadInput(
            f"{source} is not a session of tulu: {type(error).__name__} {error}."
        ) from error


def _session(value: Mapping[str, Any]) -> Session:
    nodes = [_node_from_value(node) for node in value["nodes"]]
    return Session(
        id=str(value["id"]),
        created=float(value["created"]),
        name=value["name"],
        system=value["system"],
        nodes={node.id: node for node in nodes},
        head=value["head"],
        undone=tuple(value["undone"]),
    )


def _node_to_value(node: Node) -> dict[str, Any]:
    record = None if node.record is None else json.loads(record_to_json(node.record))
    return {**asdict(node), "record": record, "finish_reason": node.finish_reason}


def _node_from_value(value: Mapping[str, Any]) -> Node:
    record = value["record"]
    return Node(
        id=value["id"],
        parent=value["parent"],
        role=value["role"],
        content=value["content"],
        created=float(value["created"]),
        record=None if record is None else record_from_json(json.dumps(record)),
        extra=dict(value["extra"]),
    )


def _checked(session: Session) -> Session:
    """Return the session if each node comes after its parent and all texts are texts."""
    known: set[str | None] = {None}
    for node in session.nodes.values():
        if node.parent not in known:
            raise ValueError(f"node {node.id!r} comes before its parent")
        known.add(node.id)
    if not {session.head, *session.undone} <= known:
        raise ValueError("the head is not among the nodes")
    texts = [text for text in (session.name, session.system) if text is not None]
    for node in session.nodes.values():
        texts += (node.id, node.role, node.content)
    times = (session.created, *(node.created for node in session.nodes.values()))
    if not all(0 <= at < YEAR_9999 for at in times):
        raise ValueError("a time is out of range")
    "".join(texts).encode()  # fails if one is not a text, or has a lone surrogate
    return session
