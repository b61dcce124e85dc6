"""The family as a list: each model, its state in the cache, and where its weights fit."""

from dataclasses import dataclass
from typing import Any

from tulu_cli.models import FAMILY, FamilyModel, resolve
from tulu_cli.models.installed import Cached, look
from tulu_cli.plan.weights import WeightsFit, weights_fit
from tulu_cli.render.columns import aligned
from tulu_cli.text import gib

_PLACES = {"memory": "RAM", "nowhere": "no"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the family on this machine."""

    model: FamilyModel
    cached: Cached
    fit: WeightsFit


def entries(gpus_free: tuple[int, ...], memory_free: int) -> list[Entry]:
    """Return the family, looking at the disk. Sizes are in bytes."""
    return [
        Entry(
            model,
            look(resolve(model.alias)),
            weights_fit(model.weight_bytes, gpus_free, memory_free),
        )
        for model in FAMILY
    ]


def as_object(entry: Entry) -> dict[str, Any]:
    """Return an entry for JSON. `weights_fit` is about the weights in bfloat16 alone."""
    model, cached = entry.model, entry.cached
    return {
        "alias": model.alias,
        "repository": model.repository,
        "stage": model.stage,
        "size": model.size,
        "base": model.base,
        "license": model.license,
        "parameters": model.parameters,
        "weight_bytes": model.weight_bytes,
        "cached": {"state": cached.state, "bytes": cached.bytes, "path": str(cached.path)},
        "weights_fit": {"place": entry.fit.place, "gpus": entry.fit.gpus},
    }


def as_lines(listed: list[Entry], width: int | None) -> list[str]:
    """Format the table with its heading; columns are left out if `width` is too small."""
    layouts = [_whole(listed), _short(listed), _short(listed, base=False), _shortest(listed)]
    drawn = [aligned(rows, right) for rows, right in layouts]
    fitting = (lines for lines in drawn if width is None or max(map(len, lines)) <= width)
    return next(fitting, drawn[-1])


_Layout = tuple[list[tuple[str, ...]], tuple[int, ...]]


def _whole(listed: list[Entry]) -> _Layout:
    head = ("Alias", "Repository", "Stage", "Size", "Base", "Weights", "Cached", "Fits")
    rows = [
        (
            entry.model.alias,
            entry.model.repository,
            entry.model.stage,
            entry.model.size,
            entry.model.base,
            gib(entry.model.weight_bytes),
            _cached(entry.cached),
            _fit(entry.fit),
        )
        for entry in listed
    ]
    return [head, *rows], (3, 5)


def _short(listed: list[Entry], *, base: bool = True) -> _Layout:
    """Leave out the owners of repositories, and give sizes as a number of GiB."""
    rows = [("Alias", "Repository", "Stage", *(["Base"] * base), "GiB", "Here", "Fits")]
    for entry in listed:
        bases = [_name(entry.model.base)] if base else []
        rows.append(
            (
                entry.model.alias,
                _name(entry.model.repository),
                entry.model.stage,
                *bases,
                f"{entry.model.weight_bytes / 2**30:.1f}",
                {"complete": "yes", "partial": "part", "none": "no"}[entry.cached.state],
                _fit(entry.fit),
            )
        )
    return rows, (3 + base,)


def _shortest(listed: list[Entry]) -> _Layout:
    rows, _ = _short(listed, base=False)
    return [(row[0], *row[2:]) for row in rows], (2,)


def _name(repository: str) -> str:
    return repository.partition("/")[2]


def _fit(fit: WeightsFit) -> str:
    return _PLACES.get(fit.place) or f"{fit.gpus} GPU"


def _cached(cached: Cached) -> str:
    if cached.state == "none":
        return "no"
    return ("part, " if cached.state == "partial" else "") + gib(cached.bytes)
