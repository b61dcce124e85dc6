"""`tulu config check`: find every mistake in the settings."""

import os
from typing import TYPE_CHECKING

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import ExitCode

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


EXIT_CODES = {0: "There is no mistake.", 65: "There is a mistake."}


def check(_debug: _options.Debug = False) -> None:
    """Print every mistake in your settings file, ./.tulu.toml and the TULU_* variables."""
    from tulu_cli.settings.check import all_problems
    from tulu_cli.streams import Streams

    run(Streams.standard(), all_problems(os.environ))


def run(streams: "Streams", problems: list[str]) -> None:
    """Print the problems, a line each. Raise Exit if there are any."""
    streams.write("".join(f"{problem}\n" for problem in problems))
    if problems:
        raise typer.Exit(ExitCode.BAD_INPUT)
    streams.say("tulu: nothing is wrong with the settings.")
