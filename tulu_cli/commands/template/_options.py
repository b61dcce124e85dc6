"""The options that the verbs share, and what they amount to."""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from tulu_cli.commands.template._input import Input, read_input
from tulu_cli.errors import UsageError

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
class Subject:
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
class Manner:
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
    """What `render` and `tokens` are asked for, understood."""

    subject: Subject = field(default_factory=Subject)
    manner: Manner = field(default_factory=Manner)
    given: Input = field(default_factory=Input)
    system: str | None = None
    source_format: str = "auto"
    json_output: bool = False
    jobs: int = 1
    verbose: bool = False


def read_prompt_options(flags: dict[str, Any]) -> PromptOptions:
    """The flags of a verb by their names, understood. Raises UsageError, BadInput."""
    from tulu_cli.commands.template._rows import read_system, read_tools

    return PromptOptions(
        subject=read_subject(flags),
        manner=Manner(
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


def read_subject(flags: dict[str, Any]) -> Subject:
    """The template that flags mean; a verb need not have them all."""
    names = ("model", "template", "tokenizer", "eos", "bos", "card", "offline")
    return Subject(**{name: flags[name] for name in names if name in flags})
