"""What the user may have meant by a name that means nothing."""

from collections.abc import Iterable

from tulu_cli.models.family import family_models


def suggestion(name: str, aliases: Iterable[str]) -> str:
    """One sentence: the nearest names if there are any, else how a name is written."""
    from difflib import get_close_matches

    names = _known(aliases)
    near = get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        listed = " or ".join(dict.fromkeys(names[key] for key in near))
        return f"Did you mean {listed}?"
    short = ", ".join(row.alias for row in family_models())
    return f"Write one of {short}; a repository as org/name; or a path as ./name."


def _known(aliases: Iterable[str]) -> dict[str, str]:
    """Lower-case spelling -> name to offer, repositories also by what follows the slash."""
    names = {alias.lower(): alias for alias in aliases}
    for row in family_models():
        names.setdefault(row.alias, row.alias)
        names[row.repository.lower()] = row.repository
        names[row.repository.lower().partition("/")[2]] = row.repository
    return names
