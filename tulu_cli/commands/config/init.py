"""`tulu config init`: write a settings file to start from, with every setting in a comment."""

from typing import TYPE_CHECKING

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import user_path, write
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    from tulu_cli.settings.toml import Source


EXIT_CODES = {0: "Written.", 1: "There is a file already; it was left alone."}


def init(_debug: _options.Debug = False) -> None:
    """Write a settings file with every setting in a comment."""
    from tulu_cli.streams import Streams

    write(begin)
    Streams.standard().say(f"tulu: wrote {user_path()}; `tulu config edit` opens it.")


def begin(source: "Source") -> str:
    """Return the text of a new file. Raise TuluError if there is a file already."""
    from tulu_cli.commands.config._template import template

    if source.path.exists():
        raise TuluError(f"{source.path} exists already; `tulu config edit` opens it.")
    return template()
