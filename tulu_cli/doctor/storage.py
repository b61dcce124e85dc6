"""The caches: space on their disks, and whether the models in them are complete."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tulu_cli.doctor.finding import Finding
from tulu_cli.errors import BadInput
from tulu_cli.text import gib

# Tülu 3 8B, the smallest of the family, in bf16: 16.1 GB of weights.
ROOM_FOR_A_MODEL = 16 * 2**30
_ROOM_TO_WORK = 2**30


@dataclass(frozen=True, slots=True)
class Place:
    """A cache's folder, which need not exist, and the free bytes of its disk."""

    name: str
    path: Path
    free_bytes: int
    writable: bool
    variable: str


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in a cache and the files that it lacks, or the `failure` of reading it."""

    name: str
    missing: tuple[str, ...] = ()
    weights: bool = True
    failure: str | None = None
    hub: bool = True


def judge_place(place: Place) -> Finding:
    """Judge whether a cache can be written and has space. Pure."""
    said = f"{gib(place.free_bytes, 1)} free for {place.name} in {place.path}"
    if not place.writable:
        return Finding(
            "problem", "disk", f"{place.path} cannot be written.", f"export {place.variable}=..."
        )
    if place.free_bytes < _ROOM_TO_WORK:
        return Finding("problem", "disk", f"Only {said}.", f"export {place.variable}=...")
    if place.free_bytes < ROOM_FOR_A_MODEL:
        return Finding("note", "disk", f"{said}: too little for the weights of an 8B model.")
    return Finding("ok", "disk", f"{said}.")


def judge_model(model: CachedModel, *, offline: bool) -> Finding:
    """Judge whether a cached model is complete: offline, an incomplete one is a problem. Pure."""
    from tulu_cli.text import listed

    again = f"tulu models pull {model.name}" if model.hub else None
    if model.failure:
        return Finding("problem", "model", f"{model.name} is damaged: {model.failure}", again)
    if not model.missing:
        return Finding("ok", "model", f"{model.name} is whole.")
    if not model.weights:
        return Finding("note", "model", f"{model.name}: its texts are here and no weights.", again)
    said = f"{model.name} is not whole: it lacks {listed(model.missing, 3)}."
    return Finding("problem" if offline else "note", "model", said, again)


def read_place(name: str, path: Path, variable: str) -> Place:
    """Look at a cache's folder, or at the nearest one above it that exists."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Place(name, path, shutil.disk_usage(there).free, writable, variable)


def read_models(hub: Path, converted: Path) -> list[CachedModel]:
    """Return the models in both caches; of a repository, each revision."""
    snapshots = sorted(hub.glob("models--*/snapshots/*"))
    found = [read_cached_model(_repository(path), path) for path in snapshots if path.is_dir()]
    built = sorted(path for path in converted.glob("*") if path.is_dir() and path.name[0] != ".")
    return found + [read_cached_model(path.name, path, hub=False) for path in built]


def read_cached_model(name: str, directory: Path, *, hub: bool = True) -> CachedModel:
    """Look at one directory of a model."""
    from tulu_cli.models.config import missing_files

    try:
        missing = tuple(missing_files(directory))
    except (BadInput, OSError) as error:
        return CachedModel(name, failure=str(error), hub=hub)
    return CachedModel(name, missing, _has_weights(directory.iterdir()), hub=hub)


def _has_weights(paths: Iterable[Path]) -> bool:
    return any(path.suffix == ".safetensors" for path in paths)


def _repository(snapshot: Path) -> str:
    """Return org/name@commit for models--org--name/snapshots/<commit>."""
    folder = snapshot.parent.parent.name
    return f"{folder.removeprefix('models--').replace('--', '/', 1)}@{snapshot.name}"


def judge_storage(
    places: Iterable[Place], models: Iterable[CachedModel], *, offline: bool
) -> Iterator[Finding]:
    """Judge the caches and the models in them. Pure."""
    yield from map(judge_place, places)
    for model in models:
        yield judge_model(model, offline=offline)
