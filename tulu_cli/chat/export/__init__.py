"""Conversations as files: the formats to write them in and read them from.

A format writes the path to the head of each session; `losses` counts what that leaves out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tulu_cli.chat.export import json, markdown, page
from tulu_cli.chat.session import Session
from tulu_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Format:
    """Describe a format: how it is written and read, and what it holds beside roles and texts.

    `read` raises BadInput. With `holds_keys` a message keeps its other keys, such as tool calls;
    with `holds_tree` the other branches and the records are kept too.
    """

    name: str
    suffix: str
    write: Callable[[Sequence[Session]], str]
    read: Callable[[bytes, str], list[Session]]
    holds_many: bool = True
    holds_keys: bool = True
    holds_tree: bool = False


FORMATS = (
    Format("markdown", ".md", markdown.write, markdown.read, holds_many=False, holds_keys=False),
    Format("jsonl", ".jsonl", json.write_jsonl, json.read),
    Format("openai", ".json", json.write_openai, json.read, holds_many=False),
    Format("sharegpt", ".json", json.write_sharegpt, json.read),
    Format("html", ".html", page.write, page.read, holds_many=False),
    Format("tulu", ".json", json.write_tulu, json.read, holds_tree=True),
)


def format_named(name: str) -> Format:
    """Return the format of that name. Raise UsageError if there is none."""
    for one in FORMATS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in FORMATS)
    raise UsageError(f"There is no format {name!r}: choose from {known}.")


def format_of(file: str, default: str) -> Format:
    """Return the format for a file's suffix, or the default."""
    suffix = PurePath(file).suffix.lower()
    suffix = {".htm": ".html", ".markdown": ".md", ".ndjson": ".jsonl"}.get(suffix, suffix)
    return next((one for one in FORMATS if one.suffix == suffix), format_named(default))


def losses(session: Session, form: Format) -> dict[str, int]:
    """Return what the format drops of a session, with how many of each."""
    path = session.path()
    made = sum(node.record is not None for node in path)
    others = sum(bool(node.extra.keys() - {"content"}) for node in path)  # its text is there
    lost = {
        "turns of other branches": 0 if form.holds_tree else len(session.nodes) - len(path),
        "records of how answers were made": 0 if form.holds_tree else made,
        "messages with other keys": 0 if form.holds_keys else others,
    }
    return {what: count for what, count in lost.items() if count}
