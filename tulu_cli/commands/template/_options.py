"""The options that the verbs share, and what they amount to."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from tulu_cli.errors import BadInput, UsageError

if TYPE_CHECKING:
    from tulu_cli.prompt.inspect.formats import Row
    from tulu_cli.prompt.inspect.rows import Chunk
    from tulu_cli.streams import Streams


_SUFFIXES = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Input:
    """The input that the command line names: a file (`-` is stdin) or texts; stdin if neither."""

    file: str | None = None
    texts: tuple[str, ...] = ()


def read_input(arguments: list[str] | None, file: str | None) -> Input:
    """Tell a file from texts. Raise UsageError where there are both."""
    texts = tuple(arguments or ())
    if file is None and texts and (texts[0] == "-" or texts[0].lower().endswith(_SUFFIXES)):
        file, texts = texts[0], texts[1:]
    if file is not None and texts:
        raise UsageError(f"A file and texts exclude one another: {texts[0]!r} is too much.")
    return Input(file, texts)


def chunks_of(given: Input, streams: "Streams") -> "Iterator[Chunk]":
    """Yield the conversations as lines of JSON. Raise BadInput, UsageError."""
    from tulu_cli.prompt.inspect.rows import Chunk, read_chunks
    from tulu_cli.request.inputs import well_formed

    if given.texts:
        texts = [well_formed(text, "An argument") for text in given.texts]
        messages = [{"role": "user", "content": text} for text in texts]
        yield Chunk("The command line", 1, [json.dumps(messages).encode()], unit="")
        return
    if streams.stdin_tty and given.file is None:
        raise UsageError("There is no conversation: give a text, a file or -, or pipe one in.")
    with open_binary(given.file, streams) as (opened, name):
        yield from read_chunks(opened, name)


@contextmanager
def open_binary(name: str | None, streams: "Streams") -> "Iterator[tuple[BinaryIO, str]]":
    """Open a file, or stdin for None and `-`, with its name for errors. Raise BadInput."""
    from tulu_cli.request.inputs import shown

    if name in (None, "-"):
        yield streams.stdin, "stdin"
        return
    called = shown(str(name))
    try:
        with open(str(name), "rb") as file:
            yield file, called
    except BrokenPipeError:
        raise  # stdout's
    except OSError as error:
        raise BadInput(f"{called} cannot be read: {error.strerror or error}.") from error


Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        help="The model whose template and tokenizer to use; no weights are fetched.  "
        "[default: the Tülu 3 template that is built in]",
        metavar="MODEL",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(help="A Jinja file, or the name of one of the model's.", metavar="FILE|NAME"),
]
TokenizerDirectory = Annotated[
    str | None,
    typer.Option(
        "--tokenizer", help="A directory with tokenizer.json, in place of --model.", metavar="DIR"
    ),
]
Eos = Annotated[
    str | None,
    typer.Option(
        help="The end token, in place of the tokenizer's own.  [built in: <|end_of_text|>]",
        metavar="TEXT",
    ),
]
Bos = Annotated[
    str | None,
    typer.Option(help="The begin token, in place of the tokenizer's own.", metavar="TEXT"),
]
Card = Annotated[
    bool,
    typer.Option(
        "--card",
        help="End turns with <|endoftext|>, as the model card prints it; the tokenizers of "
        "Tülu 3 have <|end_of_text|>. With nothing to render: the card's own example.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        help="A file (- or *.json, *.jsonl: a conversation, or one a line, in any known format), "
        "or the texts of user turns.",
        metavar="FILE|-|TEXT",
    ),
]
File = Annotated[
    str | None,
    typer.Option("-f", "--file", help="A file with any other name.", metavar="FILE"),
]
PromptFile = Annotated[
    str | None,
    typer.Argument(help="The rendered text; - or none is stdin.", metavar="FILE|-"),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        help="The format of the input: auto, messages, openai, tulu, sharegpt or pairs.",
        metavar="auto|FORMAT",
    ),
]
AddGenerationPrompt = Annotated[
    bool | None,
    typer.Option(
        "--add-generation-prompt/--no-add-generation-prompt",
        help="End with the beginning of an answer.  [default: unless the assistant spoke last]",
    ),
]
ContinueFinal = Annotated[
    bool, typer.Option("--continue-final", help="Leave the last message open at its end.")
]
Tools = Annotated[
    str | None, typer.Option(help="A JSON array of tools for the template.", metavar="FILE")
]
Kwarg = Annotated[
    list[str] | None,
    typer.Option(
        help="A variable for the template, JSON or a text; repeatable.", metavar="KEY=VALUE"
    ),
]
Jobs = Annotated[
    int,
    typer.Option(min=1, max=1024, help="Processes for JSON lines; the order stays.", metavar="N"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for each conversation.")]


@dataclass(frozen=True)
class TemplateSource:
    """Which template is meant, with which tokens: small enough to send to another process."""

    model: str | None = None
    template: str | None = None
    tokenizer: str | None = None
    eos: str | None = None
    bos: str | None = None
    card: bool = False
    offline: bool = False

    def __post_init__(self) -> None:
        if self.model is not None and self.tokenizer is not None:
            raise UsageError("--model and --tokenizer exclude one another.")
        if self.card and self.eos is not None:
            raise UsageError("--card and --eos exclude one another.")


@dataclass(frozen=True)
class RenderOptions:
    """How conversations are rendered."""

    add_generation_prompt: bool | None = None
    continue_final: bool = False
    tools: tuple[Any, ...] | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)
    allow_special: bool = False
    strict_roles: bool = False

    def __post_init__(self) -> None:
        if self.continue_final and self.add_generation_prompt:
            raise UsageError("--continue-final and --add-generation-prompt exclude one another.")


def read_kwargs(pairs: list[str] | None) -> dict[str, Any]:
    """KEY=VALUE pairs; a value that is JSON is that value, else a text."""
    variables: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--kwarg takes KEY=VALUE, not {pair!r}.")
        try:
            variables[key] = json.loads(text)
        except ValueError:
            variables[key] = text
    return variables


@dataclass(frozen=True)
class PromptOptions:
    """The options of `render` and `tokens`."""

    source: TemplateSource = field(default_factory=TemplateSource)
    rendering: RenderOptions = field(default_factory=RenderOptions)
    given: Input = field(default_factory=Input)
    system: str | None = None
    source_format: str = "auto"
    json_output: bool = False
    jobs: int = 1
    verbose: bool = False


def read_prompt_options(flags: dict[str, Any]) -> PromptOptions:
    """Return the options that the flags of a verb mean. Raise UsageError, BadInput."""
    return PromptOptions(
        source=read_source(flags),
        rendering=RenderOptions(
            add_generation_prompt=flags["add_generation_prompt"],
            continue_final=flags["continue_final"],
            tools=read_tools(flags["tools"]),
            kwargs=read_kwargs(flags["kwarg"]),
            allow_special=flags["allow_special"],
            strict_roles=flags["strict_roles"],
        ),
        given=read_input(flags["inputs"], flags["file"]),
        system=read_system(flags["system"]),
        source_format=flags["source_format"],
        json_output=flags["json_output"],
        jobs=flags["jobs"],
        verbose=flags["verbose"],
    )


def read_source(flags: dict[str, Any]) -> TemplateSource:
    """Return the template that flags mean; a verb need not have them all."""
    names = ("model", "template", "tokenizer", "eos", "bos", "card", "offline")
    return TemplateSource(**{name: flags[name] for name in names if name in flags})


def read_system(asked: str | None) -> str | None:
    """Return the system prompt: a text, the name of one in the settings, tulu or none."""
    if asked is None:
        return None
    from tulu_cli.models import tulu_system_prompt
    from tulu_cli.settings import read_settings

    named = {**read_settings({}).prompts, "tulu": tulu_system_prompt(), "none": None}
    return named.get(asked, asked)


def with_prompt(row: "Row", system: str | None) -> "Row":
    """Return the row after the system prompt. Raise UsageError if it has one already."""
    if system is None:
        return row
    from tulu_cli.prompt.inspect.formats import Row
    from tulu_cli.request.inputs import with_system

    return Row(with_system(row.messages, system, asked=True), row.rest)


def read_tools(name: str | None) -> tuple[Any, ...] | None:
    """Return the tools in a JSON file. Raise BadInput."""
    if name is None:
        return None
    from tulu_cli.disk import parse_json, read_text

    text = read_text(Path(name))
    if text is None:
        raise BadInput(f"{name} does not exist: --tools takes a file with a JSON array.")
    tools = parse_json(text, name)
    if not isinstance(tools, list):
        raise BadInput(f"{name} must hold a JSON array of tools.")
    return tuple(tools)
