"""`tulu completions uninstall`: remove the installed completion script."""

from typing import TYPE_CHECKING

from tulu_cli.commands.completions._shells import (
    Shell,
    ShellName,
    place_of,
    require_ours,
    shell_of,
)
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


def uninstall(shell: Shell = None) -> None:
    """Remove the installed completion script, and print its path."""
    from tulu_cli.streams import Streams

    run(shell_of(shell), Streams.standard())


def run(shell: ShellName, streams: "Streams") -> None:
    """Remove the script. Raises TuluError for a file that is not ours, or cannot be removed."""
    place = place_of(shell)
    require_ours(place)
    try:
        place.unlink()
    except FileNotFoundError:
        streams.say(f"tulu: nothing is installed for {shell}.")
        return
    except OSError as error:
        raise TuluError(f"{str(place)!r} cannot be removed: {error.strerror}.") from error
    streams.write(f"{place}\n")
