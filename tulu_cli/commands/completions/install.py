"""`tulu completions install`: put the script where the shell looks."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tulu_cli.commands.completions._shells import (
    SCRIPTS,
    Shell,
    ShellName,
    place_of,
    require_ours,
    script_of,
    shell_of,
)
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


def install(shell: Shell = None) -> None:
    """Put the completion script where the shell looks.

    Prints where that is. It is a link, so that it is always the script of the installed program.
    No other file is changed: if a line is needed in a file of yours, it is said on stderr.
    """
    from tulu_cli.streams import Streams

    run(shell_of(shell), Streams.standard())


def run(shell: ShellName, streams: "Streams") -> None:
    """Link the script. Raises TuluError for a file that is not ours, or that cannot be written."""
    script, place = script_of(shell), place_of(shell)
    require_ours(place)
    try:
        link(script, place)
    except OSError as error:
        raise TuluError(f"{str(place)!r} cannot be written: {error.strerror}.") from error
    streams.write(f"{place}\n")
    advice = SCRIPTS[shell].advice.format(place=place, folder=place.parent)
    streams.say(f"tulu: {advice}")


def link(script: Path, place: Path) -> None:
    """Make `place` a link to the script, in one step if there is one already."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".tulu.") as folder:
        made = Path(folder) / place.name
        made.symlink_to(script)
        os.replace(made, place)
