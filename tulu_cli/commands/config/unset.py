"""`tulu config unset`: remove a setting from the settings file."""

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import InProfile, KeyName, in_profile, keys_of, write
from tulu_cli.errors import UsageError

EXIT_CODES = {
    0: "Removed.",
    1: "The file does not have this key.",
    65: "The file has a mistake.",
}


def unset(key: KeyName, profile: InProfile = None, _debug: _options.Debug = False) -> None:
    """Remove a setting from your settings file, and keep its comments and order.

    This also removes an unknown key, or a whole table such as profile.work.
    """
    from tulu_cli.settings.edit import without

    keys = in_profile(keys_as_written(key), profile)
    write(lambda source: without(source, keys))


def keys_as_written(name: str) -> tuple[str, ...]:
    """Return the keys of a setting, or an unknown name split at its dots."""
    try:
        return keys_of(name)
    except UsageError:
        return tuple(name.split("."))
