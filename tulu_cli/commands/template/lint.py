"""`tulu template lint`: check a chat template, or conversations for it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._options import Input, TemplateSource, chunks_of, read_input
from tulu_cli.errors import ExitCode, TuluError

if TYPE_CHECKING:
    from tulu_cli.prompt.inspect.lint import Finding, LintTarget
    from tulu_cli.streams import Streams

_COLORS = {"error": "\x1b[31m", "warning": "\x1b[33m", "note": "\x1b[36m"}


EXIT_CODES = {
    0: "There is no error; there may be warnings and notes.",
    1: "There is an error.",
    65: "The input cannot be read; stderr says where.",
}


def lint(
    inputs: shared.Inputs = None,
    file: shared.File = None,
    source_format: shared.From = "auto",
    model: shared.Model = None,
    template: shared.Template = None,
    tokenizer: shared.TokenizerDirectory = None,
    eos: shared.Eos = None,
    bos: shared.Bos = None,
    card: shared.Card = False,
    template_arg: shared.TemplateArg = None,
    think: shared.Think = None,
    json_output: shared.Json = False,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Check a chat template, or the conversations that you give.

    Conversations are checked for texts that pretend to be turns or control tokens, and for the
    order of roles. Each finding has a code, a severity (error, warning or note) and a fix.
    """
    flags = dict(locals())
    from tulu_cli.streams import Streams

    errors = run(
        shared.read_source(flags),
        read_input(inputs, file),
        Streams.standard(),
        kwargs=_options.read_template_args(template_arg, think),
        source_format=source_format,
        json_output=json_output,
        verbose=verbose,
    )
    if errors:
        raise typer.Exit(ExitCode.FAILURE)


def run(
    source: TemplateSource,
    given: Input,
    streams: "Streams",
    *,
    kwargs: dict[str, object] | None = None,
    source_format: str = "auto",
    json_output: bool = False,
    verbose: bool = False,
) -> int:
    """Print the findings; returns how many are errors. Raise TuluError."""
    from tulu_cli.commands.template._options import RenderOptions
    from tulu_cli.commands.template._source import open_aloud
    from tulu_cli.prompt.inspect.lint import LintTarget, lint_template
    from tulu_cli.prompt.tokenizer import Tokenizer

    opened = open_aloud(source, streams, verbose=verbose).with_stand_ins({})
    target = LintTarget(
        writer=opened.writer(RenderOptions(kwargs=kwargs or {})),
        tokenizer=opened.vocabulary if isinstance(opened.vocabulary, Tokenizer) else None,
        end_token_ids=opened.files.eos_token_ids if opened.files else (),
    )
    whole_template = given == Input()
    found = (
        iter(lint_template(target))
        if whole_template
        else conversations(target, given, streams, source_format)
    )
    counts = {"error": 0, "warning": 0, "note": 0}
    for finding in found:
        counts[finding.severity] += 1
        streams.write_styled(shown(finding, streams, as_json=json_output))
    if not json_output:
        streams.say(
            ", ".join(f"{count} {name}{'s'[count == 1 :]}" for name, count in counts.items())
        )
    return counts["error"]


def conversations(
    target: "LintTarget", given: Input, streams: "Streams", source_format: str
) -> "Iterator[Finding]":
    """Yield the findings of each conversation in turn. Raise TuluError for an unreadable one."""
    from tulu_cli.prompt.inspect.formats import tools_of
    from tulu_cli.prompt.inspect.lint import lint_conversation

    for chunk in chunks_of(given, streams):
        for number, row in chunk.rows(source_format):
            place = chunk.place(number)
            try:
                yield from lint_conversation(target, row.messages, place, tools_of(row))
            except TuluError as error:
                raise type(error)(f"{place}: {error}") from error


def shown(finding: "Finding", streams: "Streams", *, as_json: bool) -> str:
    """Return one finding as two lines for people or one of JSON, safe for a terminal."""
    from dataclasses import asdict

    from tulu_cli.commands.template._flow import json_encoder
    from tulu_cli.text import terminal_safe

    if as_json:
        line = json_encoder().encode(asdict(finding)) + "\n"
        return terminal_safe(line) if streams.stdout_tty else line
    place = f"{finding.place}: " if finding.place else ""
    text = f"{place}{finding.message}\n    {finding.fix}\n"
    start, end = (_COLORS[finding.severity], "\x1b[0m") if streams.color else ("", "")
    head = f"{finding.code} {start}{finding.severity}{end} "
    return head + (terminal_safe(text) if streams.stdout_tty else text)
