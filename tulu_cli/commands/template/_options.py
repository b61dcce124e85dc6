"""The options that several verbs of `tulu template` have, and the values made of them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from tulu_cli.commands import _options
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
        raise UsageError(
            f"A file and texts cannot be combined: leave out {file!r} or {texts[0]!r}."
        )
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
    from tulu_cli.text import shown

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


TEMPLATE = "Template"  # the section of --help

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        help="Use the chat template and tokenizer of MODEL; no weights are downloaded.  "
        "[default: the built-in Tülu 3 template]",
        metavar="MODEL",
        rich_help_panel=TEMPLATE,
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        "--chat-template",
        help="Use a Jinja file, or one of the model's named templates.",
        metavar="FILE|NAME",
        rich_help_panel=TEMPLATE,
    ),
]
TokenizerDirectory = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Use the tokenizer in this directory, instead of --model.",
        metavar="DIR",
        rich_help_panel=TEMPLATE,
    ),
]
Eos = Annotated[
    str | None,
    typer.Option(
        help="End-of-sequence token of the template.  [default: the tokenizer's, <|end_of_text|> "
        "if built in]",
        metavar="TEXT",
        rich_help_panel=TEMPLATE,
    ),
]
Bos = Annotated[
    str | None,
    typer.Option(
        help="Beginning-of-sequence token of the template.  [default: the tokenizer's]",
        metavar="TEXT",
        rich_help_panel=TEMPLATE,
    ),
]
Card = Annotated[
    bool,
    typer.Option(
        "--card",
        help="End turns with <|endoftext|>, as the model card prints them; the tokenizers of "
        "Tülu 3 have <|end_of_text|>. Without an input, use the card's example.",
        rich_help_panel=TEMPLATE,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        help="A file with a conversation in JSON, or one on each line (-, *.json or *.jsonl), or "
        "the texts of user messages.",
        metavar="FILE|-|TEXT",
    ),
]
File = Annotated[
    str | None,
    typer.Option(
        "-f",
        "--file",
        help="Read conversations from FILE, whatever its name ends with.",
        metavar="FILE",
        rich_help_panel=_options.PROMPT,
    ),
]
PromptFile = Annotated[
    str | None,
    typer.Argument(
        help="The rendered prompt; read from stdin if it is - or left out.", metavar="FILE|-"
    ),
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        help="Format of the input: auto, messages, openai, tulu, sharegpt or pairs.",
        metavar="auto|FORMAT",
        rich_help_panel=_options.PROMPT,
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        "-s",
        "--system",
        "--system-prompt",
        help="Put a system prompt first: a text, a name from the settings, tulu (the prompt of "
        "Ai2's demo) or none.",
        metavar="SYSTEM",
        rich_help_panel=_options.PROMPT,
    ),
]
AddGenerationPrompt = Annotated[
    bool | None,
    typer.Option(
        "--add-generation-prompt/--no-add-generation-prompt",
        help="End with the generation prompt, the beginning of an answer.  "
        "[default: unless the last message is the assistant's]",
        rich_help_panel=_options.PROMPT,
    ),
]
ContinueFinal = Annotated[
    bool,
    typer.Option(
        "--continue-final-message",
        "--continue-final",
        help="Leave the last message open, to be continued.",
        rich_help_panel=_options.PROMPT,
    ),
]
Tools = Annotated[
    str | None,
    typer.Option(
        help="Pass a JSON array of tools to the template.",
        metavar="FILE",
        rich_help_panel=_options.PROMPT,
    ),
]
TemplateArg = Annotated[
    list[str] | None,
    typer.Option(
        "--template-arg",
        "--kwarg",
        help="Pass a variable to the template, as JSON, True, False, None or text; repeatable.",
        metavar="KEY=VALUE",
        rich_help_panel=TEMPLATE,
    ),
]
Think = Annotated[
    bool | None,
    typer.Option(
        "--think/--no-think",
        help="Set the variable enable_thinking, by which templates let a model think or not.",
        show_default=False,
        rich_help_panel=TEMPLATE,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        min=1,
        max=1024,
        help="Use N processes for JSON Lines; the order stays.",
        metavar="N",
        rich_help_panel=_options.OUTPUT,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print each conversation as a JSON object on a line.",
        rich_help_panel=_options.OUTPUT,
    ),
]


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
            raise UsageError("--model and --tokenizer cannot be combined.")
        if self.card and self.eos is not None:
            raise UsageError("--card and --eos cannot be combined.")


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
            raise UsageError("--continue-final and --add-generation-prompt cannot be combined.")


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
            kwargs=_options.read_template_args(flags["template_arg"], flags["think"]),
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
    from tulu_cli.models import TULU_SYSTEM_PROMPT
    from tulu_cli.settings import read_settings

    named = {**read_settings({}).prompts, "tulu": TULU_SYSTEM_PROMPT, "none": None}
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
    from tulu_cli.disk import parse_json, read_piped

    text = read_piped(Path(name))
    if text is None:
        raise BadInput(f"{name} does not exist: --tools takes a file with a JSON array.")
    tools = parse_json(text, name)
    if not isinstance(tools, list):
        raise BadInput(f"{name} must hold a JSON array of tools.")
    return tuple(tools)
