"""`tulu completions install`: put the completion script where the shell looks for it."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tulu_cli.commands.completions._shells import (
    SCRIPTS,
    Shell,
    ShellName,
    checkout_of,
    place_of,
    require_ours,
    script_of,
    shell_of,
)
from tulu_cli.disk import make_private
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


def install(shell: Shell = None) -> None:
    """Put the completion script where the shell looks for it, and print its path.

    No other file is changed; if your shell needs a line in its startup file, stderr says which.
    The script is a copy, so install it again after an upgrade. From a checkout it is a link.
    """
    from tulu_cli.streams import Streams

    run(shell_of(shell), Streams.standard())


def run(shell: ShellName, streams: "Streams") -> None:
    """Put the script there. Raises TuluError for a file that is not ours, or cannot be written."""
    script, place = script_of(shell), place_of(shell)
    require_ours(place)
    try:
        put(script, place, as_link=script == checkout_of(shell))
    except OSError as error:
        raise TuluError(f"{str(place)!r} cannot be written: {error.strerror}.") from error
    streams.write(f"{place}\n")
    advice = SCRIPTS[shell].advice.format(place=place, folder=place.parent)
    streams.say(f"tulu: {advice}")


def put(script: Path, place: Path, *, as_link: bool) -> None:
    """Make `place` the script, in one step if there is one already.

    A link into an installation that is gone would make zsh complain each time it starts.
    """
    make_private(place.parent)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".tulu.") as folder:
        made = Path(folder) / place.name
        if as_link:
            made.symlink_to(script)
        else:
            shutil.copyfile(script, made)
            made.chmod(0o644)
        os.replace(made, place)
