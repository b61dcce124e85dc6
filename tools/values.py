"""Find the completions for the value of an option or argument from its type and placeholder."""

import re
from dataclasses import dataclass
from typing import Any

from tulu_cli.cli.completion import KINDS, Candidate, Kind, Paths

_LITERAL = re.compile(r"[a-z0-9][a-z0-9_.:-]*")


@dataclass(frozen=True)
class Values:
    """Fixed `words`, the kinds that `tulu` is asked for at each Tab, and names of files."""

    words: tuple[Candidate, ...] = ()
    asks: tuple[str, ...] = ()
    paths: Paths = ""


def values_of(item: Any) -> Values:
    """Return the choices of the type if it has any, else those of the placeholder."""
    described = item.type_descriptor
    if described.choices:
        words = (str(getattr(choice, "value", choice)) for choice in described.choices)
        return Values(tuple(map(Candidate, words)))
    found = from_placeholder(item.metavar or item.name.upper())
    if found == Values() and described.is_path:
        only_folders = not described.parameter_info.file_okay
        return Values(paths="directories" if only_folders else "files")
    return found


def from_placeholder(placeholder: str) -> Values:
    """Return the completions of a placeholder: `MODEL|none` is the kind MODEL and the word `none`.

    An upper-case word that is not a kind has none. A suffix in brackets or after a dot is ignored:
    FILE.svg is a FILE.
    """
    words = [word.strip("[]{}<>.") for word in placeholder.split("|")]
    names = [re.split(r"[.[{]", word)[0] for word in words]
    kinds = {name: KINDS.get(name, Kind()) for name in names}
    literal = [Candidate(word) for word in words if _LITERAL.fullmatch(word)]
    return Values(
        (*(word for kind in kinds.values() for word in kind.fixed()), *literal),
        tuple(name for name, kind in kinds.items() if kind.source),
        next((kind.paths for kind in kinds.values() if kind.paths), ""),
    )
