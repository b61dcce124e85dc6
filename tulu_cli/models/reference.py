"""Names of models: a directory, a GGUF file, the demo, or a repository on the Hub."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from tulu_cli.disk import read_json
from tulu_cli.errors import ModelNotFound, UsageError
from tulu_cli.models.family import FAMILY


def suggestion(name: str, aliases: Iterable[str]) -> str:
    """Return a sentence with the nearest names, or with how names are written if none is near."""
    from difflib import get_close_matches

    names = _known(aliases)
    near = get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if near:
        listed = " or ".join(dict.fromkeys(names[key] for key in near))
        return f"Did you mean {listed}?"
    short = ", ".join(row.alias for row in FAMILY)
    return f"Write one of {short}; a repository as org/name; or a path as ./name."


def _known(aliases: Iterable[str]) -> dict[str, str]:
    """Map lower-case spellings to names, repositories also by what follows the slash."""
    names = {alias.lower(): alias for alias in aliases}
    for row in FAMILY:
        names.setdefault(row.alias, row.alias)
        names[row.repository.lower()] = row.repository
        names[row.repository.lower().partition("/")[2]] = row.repository
    return names


_LOCAL = re.compile(r"(/|~|\.{1,2}(/|$))")
CONFIG_OF_ADAPTER = "adapter_config.json"
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
# What git allows and no path separator games: the Hub's library joins a revision to a path.
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./+-]*", re.ASCII)
_NO_ALIASES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A resolved model name, which says nothing of whether its files are on this machine.

    `name` is what the user wrote, or a server's own name for its model. `repo` and `revision` are
    the Hub's; `path` is absolute, and set for a directory and a GGUF file. `is_tulu` is True for
    Ai2's Tülu 3 models.
    """

    name: str
    kind: Literal["hub", "directory", "gguf", "demo", "server"]
    repo: str | None = None
    revision: str | None = None
    path: Path | None = None
    is_tulu: bool = False


def resolve(name: str, aliases: Mapping[str, str] = _NO_ALIASES) -> ModelRef:
    """Resolve a name, looking at the disk but never at the network.

    Paths (`./`, `../`, `/`, `~`) come first, then the user's aliases, the family's, a directory or
    GGUF file of that name, and last `org/name[@revision]`. An alias comes before a directory, so
    that `8b` is the same model in every working directory.

    Raise ModelNotFound with the nearest names, or with what a local model lacks, and UsageError
    if the user's aliases form a circle.
    """
    target = _follow(name, aliases)
    found = _local(target) if _LOCAL.match(target) else _family(target) or _on_disk(target)
    found = found or _repository(target)
    if not found:
        raise ModelNotFound(f"{target!r} is not a model. {suggestion(target, aliases)}")
    return replace(found, name=name)


def _follow(name: str, aliases: Mapping[str, str]) -> str:
    seen = [name]
    while seen[-1] in aliases and not _LOCAL.match(seen[-1]):
        seen.append(aliases[seen[-1]])
        if seen[-1] in seen[:-1]:
            circle = " -> ".join(seen)
            raise UsageError(f"The model aliases form a circle: {circle}. Change one.")
    return seen[-1]


def _family(name: str) -> ModelRef | None:
    alias, at, revision = name.partition("@")
    row = next((row for row in FAMILY if row.alias == alias), None)
    if row is None or (at and not _REVISION.fullmatch(revision)):
        return None
    if alias == "demo":
        return None if at else ModelRef(name, "demo", row.repository)
    return _hub(name, row.repository, revision or None)


def _repository(name: str) -> ModelRef | None:
    repo, at, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(repo) or (at and not _REVISION.fullmatch(revision)):
        return None
    return _hub(name, repo, revision or None)


def _hub(name: str, repo: str, revision: str | None) -> ModelRef:
    lowered = repo.lower()
    is_tulu = lowered.startswith("allenai/") and "tulu-3" in lowered
    return ModelRef(name, "hub", repo, revision, is_tulu=is_tulu)


def _on_disk(name: str) -> ModelRef | None:
    is_file = name.lower().endswith(".gguf") and os.path.isfile(name)
    return _local(name) if is_file or os.path.isdir(name) else None


def _local(name: str) -> ModelRef:
    path = Path(os.path.abspath(os.path.expanduser(name)))
    # os.path answers False where pathlib raises: a NUL, a name too long, a folder closed to us.
    if os.path.isdir(path):
        _require_config(name, path)
        return ModelRef(name, "directory", path=path)
    if not os.path.exists(path):
        raise ModelNotFound(f"There is no file or directory {name!r}: check the path.")
    if path.suffix.lower() != ".gguf":
        raise ModelNotFound(
            f"{name!r} is not a model: a directory with config.json and *.safetensors, "
            "or a .gguf file, is needed."
        )
    return ModelRef(name, "gguf", path=path)


def _require_config(name: str, path: Path) -> None:
    if os.path.isfile(path / "config.json"):
        return
    if refusal := adapter_refusal(path, name):
        raise refusal
    gguf = next(iter(sorted(path.glob("*.gguf"))), None)
    hint = f"name the file {gguf.name!r} in it." if gguf else "is it the right directory?"
    raise ModelNotFound(f"The directory {name!r} has no config.json: {hint}")


class IsAdapter(ModelNotFound):
    """PEFT's adapter was named as a model; `base` is the model that it is of, if it says so."""

    def __init__(self, name: str, base: str | None) -> None:
        of = f" of {base!r}" if base else ""
        super().__init__(
            f"{name!r} is an adapter{of}, and not a whole model: name its base, and the adapter "
            "with --adapter, or merge the two with PEFT (merge_and_unload) and name the result."
        )
        self.name = name
        self.base = base


def adapter_refusal(directory: Path, name: str) -> IsAdapter | None:
    """Make the error for a directory that holds PEFT's adapter and no model, None if it does not.

    Raise BadInput if its adapter_config.json is broken.
    """
    told = directory / CONFIG_OF_ADAPTER
    if not os.path.isfile(told):
        return None
    base = read_json(told).get("base_model_name_or_path")
    return IsAdapter(name, base if isinstance(base, str) and base else None)
