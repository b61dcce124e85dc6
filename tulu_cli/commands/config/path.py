"""`tulu config path`: where the user's file of settings is."""

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import user_path


def path(_debug: _options.Debug = False) -> None:
    """Print where your file of settings is, whether it is there yet or not."""
    from tulu_cli.streams import Streams

    Streams.standard().write(f"{user_path()}\n")
