"""`tulu config path`: print the path of the settings file."""

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import user_path


def path(_debug: _options.Debug = False) -> None:
    """Print the path of your settings file, even if it does not exist yet."""
    from tulu_cli.streams import Streams

    Streams.standard().write(f"{user_path()}\n")
