"""What a record of the input asks: a conversation or a plain text, and its own sampling."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tulu_cli.batch.completions import with_completions
from tulu_cli.batch.lines import LONGEST_LINE, Line
from tulu_cli.batch.openai import is_openai, read_prompt, read_request, read_sampling
from tulu_cli.batch.template import Template
from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.formats import read_row as read_conversation
from tulu_cli.prompt.rows import parse_line

FORMATS = ("auto", "openai", "messages", "prompt", "text", "sharegpt", "csv")
_SHAPES = (
    "messages, prompt, text, conversations, or custom_id with body; a --template reads any columns"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One question. `prompt` is a conversation, or a text that is completed without a template.

    `id` is the row's own name; `columns` is what else it holds, which is carried through.
    `sampling` are the parameters that it sets for itself. `url` is OpenAI's, for rows of theirs.
    `completions` are what is scored behind the prompt; `several` says that the row gave a list,
    whose best one it wants to know.
    """

    line: int
    digest: int
    prompt: Conversation | str
    id: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    completions: Conversation = ()
    several: bool = False


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that asks nothing that can be answered, and why."""

    line: int
    digest: int
    error: BadInput
    id: str | None = None


def read_row(
    line: Line, kind: str = "auto", template: Template | None = None, *, scored: bool = False
) -> Row | BadRow:
    """The row of a record in the format `kind`, one of FORMATS. Never raises for what is in it.

    A row that is to be `scored` holds the answer too.
    """
    source = f"line {line.number:,}"
    value: Any = None
    try:
        if line.data is None:
            raise BadInput(f"{source} is longer than {LONGEST_LINE // 2**20} MiB.")
        value = parse_line(line.data, source)
        row = _row(line, value, kind, template, source)
        return with_completions(row, value, source) if scored else _answerable(row, source)
    except BadInput as error:
        return BadRow(line.number, line.digest, error, _id_of(value))


def _row(line: Line, value: Any, kind: str, template: Template | None, source: str) -> Row:
    if isinstance(value, list) and kind in ("auto", "messages"):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise BadInput(f"{source} must be a JSON object; it has one of {_SHAPES}.")
    name = _id_of(value)
    if template is not None:
        text = template.fill(value, source)
        prompt: Conversation | str = (*_system(value, source), Message("user", text))
        return Row(line.number, line.digest, prompt, name, _rest(value, "id", "system"))
    if is_openai(value) and kind in ("auto", "openai"):
        url, body = read_request(value, source)
        own = read_sampling(body, source)
        return Row(line.number, line.digest, read_prompt(url, body, source), name, {}, own, url)
    prompt, used = _prompt(value, kind, source)
    columns = _rest(value, "id", "custom_id", "sampling", *used)
    own = value.get("sampling", {})
    if not isinstance(own, dict):
        raise BadInput(f'{source}: sampling must be an object, such as {{"max_tokens": 64}}.')
    return Row(line.number, line.digest, prompt, name, columns, own)


def _prompt(
    value: Mapping[str, Any], kind: str, source: str
) -> tuple[Conversation | str, tuple[str, ...]]:
    """What is asked, and the keys that say it."""
    for key, kinds in (
        ("messages", ("auto", "messages")),
        ("conversations", ("auto", "sharegpt")),
    ):
        if key in value and kind in kinds:
            return read_conversation({key: value[key]}, source).messages, (key,)
    if "prompt" in value and kind in ("auto", "prompt", "csv"):
        text = _text(value, "prompt", source)
        return (*_system(value, source), Message("user", text)), ("prompt", "system")
    if "text" in value and kind in ("auto", "text", "csv"):
        return _text(value, "text", source), ("text",)
    wanted = _SHAPES if kind == "auto" else f"what the format {kind} takes"
    raise BadInput(f"{source} asks nothing: it has none of {wanted}.")


def _system(value: Mapping[str, Any], source: str) -> Conversation:
    return (Message("system", _text(value, "system", source)),) if "system" in value else ()


def _text(value: Mapping[str, Any], key: str, source: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise BadInput(f"{source}: {key} must be a text.")
    return text


def _answerable(row: Row, source: str) -> Row:
    if not row.prompt:
        raise BadInput(f"{source} is empty: there is nothing to answer.")
    if not isinstance(row.prompt, str) and row.prompt[-1].role == "assistant":
        raise BadInput(f"{source} ends with an answer: the last message must be the user's.")
    return row


def _id_of(value: Any) -> str | None:
    found = (value.get("custom_id") or value.get("id")) if isinstance(value, dict) else None
    return str(found) if isinstance(found, (str, int)) and not isinstance(found, bool) else None


def _rest(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}
