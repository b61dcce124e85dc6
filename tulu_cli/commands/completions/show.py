"""`tulu completions show`: print the completion script of a shell."""

from typing import Annotated

import typer

from tulu_cli.commands.completions._shells import ShellName, script_of, shell_of


def show(
    shell: Annotated[
        ShellName | None,
        typer.Argument(help="The shell: bash, zsh or fish.  [default: by $SHELL]", metavar="SHELL"),
    ] = None,
) -> None:
    """Print the completion script of a shell."""
    from tulu_cli.streams import Streams

    Streams.standard().write(script_of(shell_of(shell)).read_text(encoding="utf-8"))
