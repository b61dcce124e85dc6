"""Change a file of settings in one step, keeping its comments and its order."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tulu_cli.disk import locked, make_private, replace_atomically, writing
from tulu_cli.errors import TuluError
from tulu_cli.settings.toml import Source, has, parse


def with_value(source: Source, keys: Sequence[str], value: Any) -> str:
    """Return the text of a document with a value set. Pure. Raise TuluError if it cannot be."""
    import tomlkit

    document = tomlkit.parse(source.text)
    table: Any = document
    for place, key in enumerate(keys[:-1]):
        if key not in table:
            # [profile.work] needs no line [profile] above it.
            table[key] = tomlkit.table(is_super_table=key == "profile" and place == 0)
        table = table[key]
        if not isinstance(table, dict):
            raise TuluError(f"{source.place(keys[: place + 1])}: {key} is not a table; remove it.")
    table[keys[-1]] = value
    return _sound(source, tomlkit.dumps(document), keys, value)


def without(source: Source, keys: Sequence[str]) -> str:
    """Return the text of a document without a value or table. Pure. Raise TuluError if not set."""
    import tomlkit

    if not has(source.values, keys):
        raise TuluError(f"{'.'.join(keys)} is not set in {source.path}.")
    document = tomlkit.parse(source.text)
    table: Any = document
    for key in keys[:-1]:
        table = table[key]
    del table[keys[-1]]
    return _sound(source, tomlkit.dumps(document), keys, None)


def change(path: Path, edit: Callable[[Path], str]) -> None:
    """Replace a file by the text that `edit` makes of it, while no other `tulu` does.

    Raise what `edit` raises, and TuluError if the file cannot be written. In both cases, and if the
    program is killed, the file stays as it was.
    """
    real = Path(os.path.realpath(path))  # a link to a file kept elsewhere stays a link
    with writing(str(path)):
        make_private(real.parent)
        with locked(real.parent):
            if real.exists() and not real.is_file():
                raise TuluError(f"{path} is not a regular file: let TULU_CONFIG name one.")
            replace_atomically(real, edit(real).encode("utf-8"))


def _sound(source: Source, text: str, keys: Sequence[str], value: Any) -> str:
    """Return the new text if it means what the old one meant with this one change."""
    wanted = _changed(source.values, keys, value)
    if _pruned(parse(source.path, text.encode("utf-8")).values) != _pruned(wanted):
        raise TuluError(
            f"{source.place(keys[:1])}: this way of writing {keys[0]} cannot be changed from here; "
            "`tulu config edit` opens the file."
        )
    return text


def _changed(values: Any, keys: Sequence[str], value: Any) -> dict[str, Any]:
    copy = dict(values)
    if len(keys) > 1:
        copy[keys[0]] = _changed(copy.get(keys[0], {}), keys[1:], value)
    elif value is None:
        copy.pop(keys[0])
    else:
        copy[keys[0]] = value
    return copy


def _pruned(values: Any) -> Any:
    """Return a document without its empty tables, which say nothing."""
    if not isinstance(values, dict):
        return values
    inner = {key: _pruned(value) for key, value in values.items()}
    return {key: value for key, value in inner.items() if value != {}}
