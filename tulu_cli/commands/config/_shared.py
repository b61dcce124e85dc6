"""Shared by the verbs of `tulu config`: the key that is meant, and its place in the file."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.settings.toml import Source

KeyName = Annotated[
    str,
    typer.Argument(
        help="A setting (temperature or sampling.temperature), alias.NAME or prompts.NAME.",
        metavar="KEY",
    ),
]
InProfile = Annotated[
    str | None, typer.Option("--profile", help="Change [profile.NAME] of the file.", metavar="NAME")
]


def user_path() -> Path:
    """Return the path of the user's file, which need not exist."""
    from tulu_cli.disk import config_path

    return config_path()


def keys_of(name: str) -> tuple[str, ...]:
    """Return the keys of a setting, an alias or a prompt. Raise UsageError if there is none."""
    from tulu_cli.settings import FREE_TABLES, KEYS, dotted

    table, dot, rest = name.partition(".")
    if dot and rest and table in FREE_TABLES:
        return table, rest
    for key in KEYS:
        if name in (key.name, dotted(key.keys)):
            return key.keys
    from tulu_cli.settings.check import nearest

    raise UsageError(f"There is no setting {name!r}.{nearest(name.rpartition('.')[2])}")


def in_profile(keys: tuple[str, ...], profile: str | None) -> tuple[str, ...]:
    """Put keys into a profile's table, if one is named. Raise UsageError for an empty name."""
    if profile == "":
        raise UsageError("--profile takes a name.")
    return keys if profile is None else ("profile", profile, *keys)


def write(edit: Callable[["Source"], str]) -> None:
    """Change the user's file. Raise BadInput for a broken one, which stays as it is."""
    from tulu_cli.settings.edit import change
    from tulu_cli.settings.toml import read_toml

    change(user_path(), lambda path: edit(read_toml(path)))
