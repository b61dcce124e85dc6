"""`tulu config get`: print the value of one setting."""

from typing import TYPE_CHECKING

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import KeyName, keys_of
from tulu_cli.errors import TuluError

if TYPE_CHECKING:
    from tulu_cli.settings import Settings


EXIT_CODES = {
    0: "Printed.",
    1: "The setting is not set anywhere.",
    2: "There is no such setting.",
    65: "A settings file has a mistake.",
}


def get(key: KeyName, profile: _options.Profile = None, _debug: _options.Debug = False) -> None:
    """Print the value of a setting, wherever it was set."""
    from tulu_cli.settings import read_settings
    from tulu_cli.streams import Streams

    keys = keys_of(key)
    value = value_of(read_settings({"profile": profile}), keys)
    if value is None:
        raise TuluError(f"{key} is not set; `tulu config show` says what is used.")
    Streams.standard().write(f"{value}\n")


def value_of(settings: "Settings", keys: tuple[str, ...]) -> object | None:
    """Return the value under these keys, None if nobody set it."""
    free = {"alias": settings.aliases, "prompts": settings.prompts}
    if keys[0] in free:
        return free[keys[0]].get(keys[1])
    value: object | None = settings.get(keys[-1])
    return value
