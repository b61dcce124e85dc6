"""`tulu config unset`: remove a setting from the user's file."""

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import InProfile, KeyName, in_profile, keys_of, write
from tulu_cli.errors import UsageError


def unset(key: KeyName, profile: InProfile = None, _debug: _options.Debug = False) -> None:
    """Remove a setting from your file, whose comments and order stay.

    A key that does not belong there is removed too, and so is a whole table such as profile.work.
    Exit codes: 0 removed, 1 it is not there, 65 the file is broken.
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
