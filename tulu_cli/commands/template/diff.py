"""`tulu template diff`: compare two chat templates."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._options import TemplateSource
from tulu_cli.errors import BadInput, ExitCode

if TYPE_CHECKING:
    from tulu_cli.commands.template._source import Opened
    from tulu_cli.prompt.inspect.diff import Comparison, Outcome
    from tulu_cli.streams import Streams

_HELP = "A model, a directory, a .jinja file, or tulu (the built-in template)."
_COLORS = {"-": "\x1b[31m", "+": "\x1b[32m", "@": "\x1b[36m"}


EXIT_CODES = {
    0: "The templates do the same.",
    1: "They differ.",
    2: "The command line is not understood.",
    65: "A template renders none of the conversations, or takes too long; stderr says why.",
}


def diff(
    left: Annotated[str, typer.Argument(help=_HELP, metavar="MODEL|tulu")],
    right: Annotated[str, typer.Argument(help=_HELP, metavar="MODEL|tulu")],
    eos: Annotated[
        str | None,
        typer.Option(
            help="End-of-sequence token of both templates.  [default: the tokenizer's; a .jinja "
            "file has the other side's, or else <|end_of_text|>]",
            metavar="TEXT",
            rich_help_panel=shared.TEMPLATE,
        ),
    ] = None,
    bos: Annotated[
        str | None,
        typer.Option(
            help="Beginning-of-sequence token of both templates.  [default: the tokenizer's; a "
            ".jinja file has the other side's, or else <|bos_token|>]",
            metavar="TEXT",
            rich_help_panel=shared.TEMPLATE,
        ),
    ] = None,
    json_output: shared.Json = False,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    r"""Compare two chat templates by what they make of a set of test conversations.

    Newlines are shown as \n. A conversation that both refuse shows nothing, and is counted apart.
    """
    flags = dict(locals())
    from dataclasses import replace

    from tulu_cli.streams import Streams

    names = (flags["left"], flags["right"])
    different = run(
        [replace(meant(name, offline=offline), eos=eos, bos=bos) for name in names],
        names,
        Streams.standard(),
        json_output=json_output,
        verbose=verbose,
    )
    if different:
        raise typer.Exit(ExitCode.FAILURE)


def meant(name: str, *, offline: bool) -> TemplateSource:
    """Return the template that a name means."""
    from pathlib import Path

    if name == "tulu":
        return TemplateSource()
    if name.endswith(".jinja"):
        return TemplateSource(template=name)
    if (Path(name) / "tokenizer.json").is_file() and not (Path(name) / "config.json").is_file():
        return TemplateSource(tokenizer=name)
    return TemplateSource(model=name, offline=offline)


def run(
    sources: Sequence[TemplateSource],
    names: tuple[str, str],
    streams: "Streams",
    *,
    json_output: bool = False,
    verbose: bool = False,
) -> int:
    """Print the differences; returns how many probes show one. Raise TuluError."""
    from tulu_cli.commands.template._flow import json_encoder
    from tulu_cli.commands.template._source import open_aloud
    from tulu_cli.prompt.inspect.diff import compare
    from tulu_cli.prompt.limits import BUDGET

    opened = [open_aloud(source, streams, verbose=verbose) for source in sources]
    with BUDGET:
        left, right = (
            outcomes(name, one.with_stand_ins(known_tokens(other)))
            for name, one, other in zip(names, opened, reversed(opened), strict=True)
        )
    compared = compare(left, right)
    for one in compared:
        if json_output:
            sides = {"a": one.left, "b": one.right}
            row = {
                "probe": one.probe,
                "same": one.same,
                **{side: str(outcome) for side, outcome in sides.items()},
                "refused": [side for side, outcome in sides.items() if outcome.refused],
            }
            streams.write(json_encoder().encode(row) + "\n")
        elif not one.same:
            streams.write_styled(shown(one, names, streams))
    count = sum(not one.same for one in compared)
    if not json_output:
        refused = sum(one.refused for one in compared)
        rest = f"; {refused} are refused by both" if refused else ""
        streams.say(f"{count} of {len(compared)} conversations are rendered differently{rest}.")
    return count


def known_tokens(opened: "Opened") -> "Mapping[str, str]":
    """Return the named tokens of a template that comes with a tokenizer."""
    from tulu_cli.prompt import Tokenizer

    return opened.vocabulary.named_tokens if isinstance(opened.vocabulary, Tokenizer) else {}


def outcomes(name: str, opened: "Opened") -> "list[Outcome]":
    """Return what a template makes of each probe. Raise BadInput, which says which template."""
    from tulu_cli.commands.template._options import RenderOptions
    from tulu_cli.prompt.inspect.diff import try_out
    from tulu_cli.text import shown as shown_name

    try:
        return try_out(opened.writer(RenderOptions()))
    except BadInput as error:
        raise type(error)(f"{shown_name(name)}: {error}") from error


def shown(one: "Comparison", names: tuple[str, str], streams: "Streams") -> str:
    """Return the difference on one conversation, safe for a terminal."""
    from tulu_cli.text import terminal_safe

    lines = [f"{one.probe}:", *one.lines(*names)]
    if streams.stdout_tty:
        lines = list(map(terminal_safe, lines))
    if streams.color:
        lines = [
            f"{_COLORS[line[0]]}{line}\x1b[0m" if line[:1] in _COLORS else line for line in lines
        ]
    return "\n".join(lines) + "\n\n"
