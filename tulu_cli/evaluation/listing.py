"""The rows of all tasks as a list: whether they are here, their licences and sources."""

from typing import Any

from tulu_cli.evaluation.data import SOURCES, DataFolder
from tulu_cli.render.columns import aligned

_HEAD = ("task", "rows", "licence", "dataset", "from")


def as_lines(folder: DataFolder) -> list[str]:
    """Return the table of the tasks."""
    rows = [
        (
            one["task"],
            "here" if one["here"] else "not here",
            one["license"],
            one["dataset"],
            one["from"],
        )
        for one in _tasks(folder)
    ]
    return aligned([_HEAD, *rows])


def where(folder: DataFolder) -> str:
    """Return in words where the rows are that are here."""
    here = [one["folders"] for one in _tasks(folder) if one["here"]]
    folders = dict.fromkeys(name for names in here for name in names)
    if folders:
        return f"the rows are in {' and '.join(folders)}"
    if folder.is_own:
        return f"{str(folder.path)!r} has the rows of no task"
    return "no rows are here: tulu eval MODEL TASK fetches those of a task"


def as_object(folder: DataFolder) -> dict[str, Any]:
    """Return the list for JSON. `folders` of a task are where its files are, or would be."""
    root = folder.path if folder.is_own else folder.path.parent
    return {"folder": str(root), "tasks": _tasks(folder)}


def _tasks(folder: DataFolder) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "here": folder.has(task),
            "folders": [*dict.fromkeys(str(folder.place(name).parent) for name in source.files)],
            "dataset": source.dataset,
            "from": str(folder.path) if folder.is_own else source.origin,
            "license": source.license,
            "files": list(source.files),
        }
        for task, source in SOURCES.items()
    ]
