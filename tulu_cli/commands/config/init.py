"""`tulu config init`: write an initial file of settings, all of it comments."""

from typing import TYPE_CHECKING

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import user_path, write
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    from tulu_cli.settings.toml import Source


def init(_debug: _options.Debug = False) -> None:
    """Write a file of settings that names them all, each in a comment.

    Exit codes: 0 written, 1 there is a file already, which is left alone.
    """
    from tulu_cli.streams import Streams

    write(begin)
    Streams.standard().say(f"tulu: wrote {user_path()}; `tulu config edit` opens it.")


def begin(source: "Source") -> str:
    """Return the text of a new file. Raise TuluError if there is a file already."""
    from tulu_cli.commands.config._template import template

    if source.path.exists():
        raise TuluError(f"{source.path} exists already; `tulu config edit` opens it.")
    return template()
