"""Checks of a file of settings, the user's or a project's: each mistake with its line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.settings.keys import FREE_TABLES, KEYS, PROJECT_FILE, Key, dotted, entries, key_at
from tulu_cli.settings.merge import from_environment, profile_of, read_user_file
from tulu_cli.settings.toml import Source, line_of, read_toml

_PROJECT_BYTES = 64 * 1024
_OWN_FILE = "that belongs in the file that `tulu config path` names."


class Problem(NamedTuple):
    """A mistake under some keys of a document, as a sentence."""

    keys: tuple[str, ...]
    said: str


def read_project(path: Path, aliases: Iterable[str]) -> Source:
    """Read a project's file, if there is one. Raise BadInput for what a project may not decide."""
    source = read_project_file(path)
    refuse(source, (*problems(source.values), *overreach(source.values, aliases)))
    return source


def read_project_file(path: Path) -> Source:
    """Read a project's file without checking it: it may come with a cloned repository."""
    if not path.is_file():  # a pipe of that name would be waited for
        return Source(path)
    return read_toml(path, most_bytes=_PROJECT_BYTES)


def all_problems(environ: Mapping[str, str], project: Path = PROJECT_FILE) -> list[str]:
    """Return every mistake in the settings that a run would read here, a sentence each."""
    found: list[str] = []
    user = Source(project)
    with _collected(found):
        user = read_user_file(environ)
        found += explain(user, problems(user.values))
    with _collected(found):
        cloned = read_project_file(project)
        chosen = environ.get("TULU_PROFILE", "")
        aliases = (*_table(user, "alias"), *_table(user, "profile", chosen, "alias"))
        every = (*problems(cloned.values), *overreach(cloned.values, aliases))
        found += explain(cloned, every)
    with _collected(found):
        from_environment(environ)
    if not found and (name := environ.get("TULU_PROFILE")):
        with _collected(found):
            profile_of(user, name)
    return found


@contextmanager
def _collected(found: list[str]) -> Iterator[None]:
    try:
        yield
    except TuluError as error:
        found.append(str(error))


def _table(source: Source, *keys: str) -> Mapping[str, Any]:
    """Return a table of an unchecked document, empty if there is no such table."""
    values: Any = source.values
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values if isinstance(values, Mapping) else {}


def refuse(source: Source, found: Iterable[Problem]) -> None:
    """Raise BadInput for the problem on the first line, if there is any."""
    if sentences := explain(source, found):
        raise BadInput(sentences[0])


def explain(source: Source, found: Iterable[Problem]) -> list[str]:
    """Return a sentence with file and line for each problem, in the order of the lines."""
    by_line = sorted(found, key=lambda one: line_of(source.text, one.keys))
    return [f"{source.place(one.keys)}: {one.said}" for one in by_line]


def problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield unknown keys of a document, and values that their keys do not take. Pure."""
    yield from _problems(document)
    profiles = document.get("profile", {})
    if not isinstance(profiles, dict):
        yield Problem(("profile",), "[profile.NAME] is a table of settings.")
        return
    for name, inner in profiles.items():
        at = ("profile", name)
        if not isinstance(inner, dict):
            yield Problem(at, f"[profile.{name}] is a table of settings.")
            continue
        if "profile" in inner:
            yield Problem((*at, "profile"), "A profile has no profiles.")
        yield from (Problem((*at, *one.keys), one.said) for one in _problems(inner))


def overreach(document: Mapping[str, Any], aliases: Iterable[str]) -> Iterator[Problem]:
    """Yield the settings of a document that a project may not decide. Pure.

    A repository that somebody cloned must not choose files, programs, servers or devices: it may
    give the sampling, prompts, and a model by a name that this user, or the family, gave it.
    """
    for table in ("alias", "profile"):
        if table in document:
            yield Problem((table,), f"a project may not set [{table}]: {_OWN_FILE}")
    for keys, value in entries(document):
        if keys[0] == "model" and value not in _model_names(aliases):
            yield Problem(keys, f"a project may only name a model by an alias: {_OWN_FILE}")
        elif keys[0] not in ("model", "system", "sampling"):
            yield Problem(keys, f"a project may not set {dotted(keys)}: {_OWN_FILE}")


def nearest(name: str) -> str:
    """Return a sentence that offers the setting with the nearest name, empty if none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, [key.name for key in KEYS], 1)
    key = next((key for key in KEYS if near and key.name == near[0]), None)
    return f" Is {dotted(key.keys)} meant?" if key else ""


def _problems(document: Mapping[str, Any]) -> Iterator[Problem]:
    for table in FREE_TABLES:
        texts = document.get(table, {})
        if not isinstance(texts, dict):
            yield Problem((table,), f"[{table}] takes names with texts.")
            continue
        for name, text in texts.items():
            if not isinstance(text, str):
                yield Problem((table, name), f"[{table}] takes names with texts.")
    for keys, value in entries(document):
        key = key_at(keys)
        if key is None:
            yield Problem(
                keys, f"unknown key {dotted(keys)}.{nearest(keys[-1]) or _near_table(keys)}"
            )
        elif problem := key.problem(float(value) if _serves(key, value) else value):
            yield Problem(keys, f"{dotted(keys)} {problem}")


def _serves(key: Key, value: Any) -> bool:
    """Return True for a whole number of a setting that takes any number."""
    return key.kind is float and type(value) is int


def _near_table(keys: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(keys[0], (*FREE_TABLES, "profile"), 1)
    return f" Is [{near[0]}] meant?" if near and len(keys) > 1 else ""


def _model_names(aliases: Iterable[str]) -> list[str]:
    from tulu_cli.models.family import FAMILY

    return [*aliases, *(row.alias for row in FAMILY)]
