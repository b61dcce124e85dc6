"""`tulu template convert`: convert conversations from one format to another."""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.template import _options as shared
from tulu_cli.commands.template._flow import RowWork, json_encoder, process
from tulu_cli.commands.template._options import Input, read_input

if TYPE_CHECKING:
    from tulu_cli.prompt.inspect.formats import Row
    from tulu_cli.streams import Streams


def convert(
    inputs: shared.Inputs = None,
    file: shared.File = None,
    source_format: shared.From = "auto",
    target_format: Annotated[
        str,
        typer.Option(
            "--to",
            help="Format of the output: messages, openai, tulu, sharegpt or pairs.",
            metavar="FORMAT",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = "openai",
    system: shared.System = None,
    jobs: shared.Jobs = 1,
    debug: _options.Debug = False,
) -> None:
    """Convert conversations between formats, from JSON Lines to JSON Lines.

    Other keys of a row are kept, except in the format messages, which is a bare array. A
    conversation that the format cannot hold, such as two turns for a pair, is an error (exit 65).
    """
    flags = dict(locals())
    from tulu_cli.commands.template._options import read_system
    from tulu_cli.streams import Streams

    chosen = ConvertOptions(
        given=read_input(inputs, file),
        system=read_system(system),
        **{name: flags[name] for name in ("source_format", "target_format", "jobs")},
    )
    run(chosen, Streams.standard())


@dataclass(frozen=True)
class ConvertOptions:
    """The options of `convert`."""

    source_format: str = "auto"
    target_format: str = "openai"
    given: Input = field(default_factory=Input)
    system: str | None = None
    jobs: int = 1


def run(chosen: ConvertOptions, streams: "Streams") -> None:
    """Print the rows. Raise TuluError; what stands before a bad line is printed."""
    process(
        streams,
        chosen.given,
        partial(make_work, chosen),
        jobs=chosen.jobs,
        format_name=chosen.source_format,
    )


def make_work(chosen: ConvertOptions) -> RowWork:
    """Return the work on one row: to the other format. Raise UsageError for an unknown one."""
    from tulu_cli.commands.template._options import with_prompt
    from tulu_cli.prompt.inspect.formats import format_named

    encode, write = json_encoder().encode, format_named(chosen.target_format).write

    def work(row: "Row") -> str:
        return encode(write(with_prompt(row, chosen.system))) + "\n"

    return work
