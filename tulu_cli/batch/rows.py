"""What a record of the input asks: a conversation or a plain text, and its own sampling."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Any

from tulu_cli.batch.lines import LONGEST_LINE, Line, is_list_of_records
from tulu_cli.batch.openai import (
    KWARGS,
    is_openai,
    read_kwargs,
    read_prompt,
    read_request,
    read_sampling,
)
from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.prompt.inspect.formats import read_row as read_conversation
from tulu_cli.prompt.inspect.formats import read_side
from tulu_cli.prompt.inspect.rows import parse_line

ONE, SEVERAL = "completion", "completions"
# vLLM's name for it.
CONTINUE = "continue_final_message"


def with_completions(row: "Row", value: Any, source: str) -> "Row":
    """Return the row with what is to be scored. Raise BadInput if it has nothing.

    That is the assistant's message at the end of its conversation, or what it holds under
    `completion` or, several to be compared, under `completions`: texts, or messages as in TRL.
    """
    if row.sampling or row.continue_final:
        what = min(row.sampling, default=CONTINUE)
        raise BadInput(f"{source} sets {what}, which is for generating, not scoring.")
    columns = {key: item for key, item in row.columns.items() if key not in (ONE, SEVERAL)}
    given = [key for key in (ONE, SEVERAL) if isinstance(value, dict) and key in value]
    prompt, last = row.prompt, None
    if not isinstance(prompt, str) and prompt and prompt[-1].role == "assistant":
        prompt, last = prompt[:-1], prompt[-1]
        given.append("an answer at its end")
    if len(given) != 1:
        has = " and ".join(given) or "nothing to score"
        raise BadInput(
            f"{source} has {has}: it needs one of {ONE}, {SEVERAL} and a last message that is the "
            "assistant's."
        )
    if last is not None:
        completions: Conversation = (last,)
    elif isinstance(prompt, str):
        completions = texts(value, given[0], source)
    else:
        more, completions = answers(value, given[0], source)
        prompt = (*prompt, *more)
    if not prompt and not isinstance(prompt, str):
        raise BadInput(f"{source} has nothing before its answer.")
    if not all(one.content or one.as_text().extra for one in completions):
        raise BadInput(f"{source} has an empty completion: there is nothing to score.")
    several = SEVERAL in given
    return replace(row, prompt=prompt, columns=columns, completions=completions, several=several)


def texts(value: Mapping[str, Any], key: str, source: str) -> Conversation:
    """Return the completions under a key, which are texts. Raise BadInput."""
    found = [value[key]] if key == ONE else value[key]
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        kind = "a text" if key == ONE else "a list of texts"
        raise BadInput(f"{source}: {key} must be {kind}.")
    return tuple(Message("assistant", one) for one in found)


def answers(value: Mapping[str, Any], key: str, source: str) -> tuple[Conversation, Conversation]:
    """Return the completions under a key, texts or arrays of messages, as the last messages.

    In front are the messages that stand before the one of a single completion, as where an answer
    begins with the call of a tool. Raise BadInput.
    """
    found = [value[key]] if key == ONE else value[key]
    if not isinstance(found, list) or not found:
        raise BadInput(f"{source}: {key} must be a list of texts, or of arrays of messages.")
    places = [key] if key == ONE else [f"{key}[{index}]" for index in range(len(found))]
    sides = [
        read_side(one, "assistant", place, source) for one, place in zip(found, places, strict=True)
    ]
    for side, place in zip(sides, places, strict=True):
        if not side or side[-1].role != "assistant":
            raise BadInput(f"{source}: {place} must end with a message of the assistant's.")
        if len(side) > 1 and len(sides) > 1:
            raise BadInput(f"{source}: {place} must be one message, where several are compared.")
    return sides[0][:-1], tuple(side[-1] for side in sides)


@dataclass(frozen=True, slots=True)
class Template:
    """Pieces of text, each with the column that follows it, or None at the end."""

    pieces: tuple[tuple[str, str | None], ...]

    def fill(self, columns: Mapping[str, Any], source: str) -> str:
        """Return the text for a row. Raise BadInput if a column is missing or not a text."""
        return "".join(
            text + ("" if column is None else _cell(columns, column, source))
            for text, column in self.pieces
        )


def read_template(text: str) -> Template:
    """Columns are named in braces, doubled braces are braces. Raises UsageError.

    Unlike Python's formatting it reaches into nothing: {a.b} is the column of that name.
    """
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise UsageError(f"--template: {error}; write {{{{ for a brace.") from error
    for _, column, form, conversion in parsed:
        if column == "" or form or conversion:
            raise UsageError("--template takes names of columns in braces, such as {title}.")
    if not any(column for _, column, _, _ in parsed):
        raise UsageError("--template names no column: write one in braces, such as {title}.")
    return Template(tuple((text, column) for text, column, _, _ in parsed))


def _cell(columns: Mapping[str, Any], column: str, source: str) -> str:
    value = columns.get(column)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        has = "has no column" if value is None else "has no text in the column"
        raise BadInput(f"{source} {has} {column!r}, which --template names.")
    return str(value)


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
    whose best one it wants to know. `kwargs` and `tools` are for the chat template. With
    `continue_final` the answer goes on with the last message, which is the assistant's.
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
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tools: list[Any] | None = None
    continue_final: bool = False


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record that asks nothing that can be answered, and why."""

    line: int
    digest: int
    error: BadInput
    id: str | None = None


def id_of(line: Line) -> str | None:
    """Return the id that the row of a record will have, without reading the rest of it."""
    if line.data is None or not (b'id"' in line.data or b"\\u" in line.data):
        return None  # the keys of JSON hold the letters id, or escape them
    try:
        return _id_of(parse_line(line.data, line.place))
    except BadInput:
        return None


def read_row(
    line: Line, kind: str = "auto", template: Template | None = None, *, scored: bool = False
) -> Row | BadRow:
    """Return the row of a record in the format `kind` of FORMATS, or a BadRow that says why not.

    A row that is to be `scored` holds the answer too.
    """
    source = line.place
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
    if is_list_of_records(value):
        raise BadInput(f"{source} is an array of records: give each of them a line of its own.")
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
        prompt = read_prompt(url, body, source)
        kwargs = read_kwargs(body, prompt, source, "body.")
        return Row(line.number, line.digest, prompt, name, {}, own, url, kwargs=kwargs)
    prompt, used = _prompt(value, kind, source)
    kwargs = read_kwargs(value, prompt, source)
    columns = _rest(value, "id", "custom_id", "sampling", KWARGS, CONTINUE, *used)
    continues = value.get(CONTINUE, False)
    if type(continues) is not bool:
        raise BadInput(f"{source}: {CONTINUE} must be true or false.")
    own = value.get("sampling", {})
    if not isinstance(own, dict):
        raise BadInput(f'{source}: sampling must be an object, such as {{"max_tokens": 64}}.')
    tools = value.get("tools") if "messages" in used else None
    tools = tools if isinstance(tools, list) and tools else None
    return Row(
        line.number,
        line.digest,
        prompt,
        name,
        columns,
        own,
        kwargs=kwargs,
        tools=tools,
        continue_final=continues,
    )


def _prompt(
    value: Mapping[str, Any], kind: str, source: str
) -> tuple[Conversation | str, tuple[str, ...]]:
    """Return the prompt of a record, and the keys that hold it."""
    for key, kinds in (
        ("messages", ("auto", "messages")),
        ("conversations", ("auto", "sharegpt")),
    ):
        if key in value and kind in kinds:
            return read_conversation({key: value[key]}, source).messages, (key,)
    if "prompt" in value and kind in ("auto", "prompt", "csv"):
        asked = read_side(value["prompt"], "user", "prompt", source)
        return (*_system(value, source), *asked), ("prompt", "system")
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
    ends_with_answer = not isinstance(row.prompt, str) and row.prompt[-1].role == "assistant"
    if row.continue_final and not ends_with_answer:
        raise BadInput(f"{source} has no message of the assistant's at its end to continue.")
    if ends_with_answer and not row.continue_final:
        raise BadInput(
            f"{source} ends with an answer: the last message must be the user's, or "
            f"{CONTINUE} true."
        )
    return row


def _id_of(value: Any) -> str | None:
    found = (value.get("custom_id") or value.get("id")) if isinstance(value, dict) else None
    return str(found) if isinstance(found, (str, int)) and not isinstance(found, bool) else None


def _rest(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in keys}
