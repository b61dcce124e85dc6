"""`tulu config set`: write a setting to the settings file."""

from typing import Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.config._shared import InProfile, KeyName, in_profile, keys_of, write
from tulu_cli.errors import UsageError

EXIT_CODES = {
    0: "Written.",
    1: "The file cannot be written.",
    2: "There is no such setting, or it cannot have this value.",
    65: "The file has a mistake.",
}


def set(  # noqa: A001  the name of the verb
    key: KeyName,
    value: Annotated[str, typer.Argument(help="The new value.", metavar="VALUE")],
    profile: InProfile = None,
    _debug: _options.Debug = False,
) -> None:
    """Write a setting to your settings file, and keep its comments and order."""
    from tulu_cli.settings.edit import with_value

    keys = keys_of(key)
    new = checked(keys, value)
    write(lambda source: with_value(source, in_profile(keys, profile), new))


def checked(keys: tuple[str, ...], text: str) -> Any:
    """Convert a text to a setting's value. Raise UsageError if the setting does not take it."""
    from tulu_cli.settings import dotted, key_at, parsed

    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(f"The value of {dotted(keys)} is not UTF-8.") from error
    setting = key_at(keys)
    if setting is None:
        return text
    value = parsed(setting.kind, text)
    if problem := setting.problem(value):
        raise UsageError(f"{dotted(keys)} {problem}")
    return value
