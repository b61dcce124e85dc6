"""Find the warm engines of this user, and judge which of them a command can use."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tulu_cli.disk import lock, locked_if_free, make_private, runtime_path
from tulu_cli.errors import TuluError, UsageError
from tulu_cli.processes import end_marked
from tulu_cli.warm.record import Warm, read_warm, remove

# An AF_UNIX path has 108 bytes with its end (unix(7)), and vLLM puts sockets of its own, named by
# a UUID, beside ours.
LONGEST_SOCKET = 107
_LONGEST_NAME = len("/") + 36
_KEY = 8


def runtime_directory() -> Path:
    """Return the folder of the warm engines, made if need be.

    Raise TuluError if its path is too long for a socket, or if others can look into it.
    """
    path = runtime_path()
    room = LONGEST_SOCKET - _LONGEST_NAME - _KEY - len("/")
    if len(os.fsencode(path)) > room:
        raise TuluError(
            f"{str(path)!r} is too long for sockets in it: set TULU_RUNTIME_DIR to a path of at "
            f"most {room} bytes."
        )
    try:
        make_private(path)
    except OSError as error:
        raise TuluError(
            f"{str(path)!r} cannot be made ({error.strerror}): set TULU_RUNTIME_DIR to a folder "
            "of yours."
        ) from error
    check_private(path)
    return path


def check_private(path: Path) -> None:
    """Raise TuluError for a directory that someone else owns or can look into."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise TuluError(
            f"{str(path)!r} is not a directory of yours: remove it, or set TULU_RUNTIME_DIR."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise TuluError(
            f"{str(path)!r} is open to other users: chmod 700 it, or set TULU_RUNTIME_DIR."
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The engine that a command needs; `engine` may be "auto".

    `settings` are only those that were set.
    """

    model: str
    directory: str
    files: str
    engine: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def warm_engines() -> list[Warm]:
    """Return the engines whose supervisors live, the newest first."""
    found = (read_warm(folder) for folder in folders() if is_alive(folder))
    return sorted((warm for warm in found if warm), key=lambda one: -one.state.started)


def folders() -> list[Path]:
    """Return the folder of each engine, dead or alive. Raise TuluError if others can look in."""
    root = runtime_path()
    if not root.is_dir():
        return []
    check_private(root)
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name != "locks")


def is_alive(folder: Path) -> bool:
    """Return True while the supervisor of an engine lives, which holds a lock until it ends."""
    try:
        descriptor = os.open(folder / "alive", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not lock(descriptor, shared=True, wait=False)
    finally:
        os.close(descriptor)


def sweep() -> list[str]:
    """End what is left of engines whose supervisors are dead; return their models' names.

    Logs stay until the same engine is started again, because they may say why it died.
    """
    swept = []
    for folder in folders():
        # Nobody else may be starting the engine, and its supervisor must not live.
        with locked_if_free(start_lock(folder)) as idle:
            if idle and not is_alive(folder) and (folder / "order.json").exists():
                warm = read_warm(folder)
                end_marked(folder)
                remove(folder, keep_log=True)
                swept.append(warm.order.asked if warm else folder.name)
    return swept


def start_lock(folder: Path) -> Path:
    """Return the lock that is held while the engine of a folder is started."""
    return folder.parent / "locks" / folder.name


def mismatch(warm: Warm, wanted: Wanted) -> str | None:
    """Return why an engine that holds the wanted model cannot answer, or None if it can.

    A setting that the command leaves open may have any value.
    """
    held = warm.order.identity
    if held.directory != wanted.directory:
        return "it holds another revision or copy of the model"
    if held.files != wanted.files:
        return "the model's files have changed since it was loaded"
    for package in sorted({*held.versions, *wanted.versions}):
        ours, theirs = wanted.versions.get(package), held.versions.get(package)
        if ours != theirs:
            return f"it runs {package} {theirs or 'not at all'}, and {ours or 'none'} is installed"
    if wanted.engine not in ("auto", held.engine):
        return f"it runs {held.engine}, not {wanted.engine}"
    for name, value in wanted.settings.items():
        if said := _other_setting(name, held.settings.get(name), value):
            return said
    return None


def _other_setting(name: str, held: Any, wanted: Any) -> str | None:
    """Return how a setting of an engine differs from what is wanted, or None."""
    if name == "adapters":
        lacking = [one["name"] for one in wanted if one not in (held or ())]
        return f"it has not loaded the adapter {lacking[0]} as it is now" if lacking else None
    if name == "draft":
        return _other_draft(held, wanted)
    return None if held == wanted else f"its {name} is {held}, not {wanted}"


def _other_draft(held: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> str | None:
    """Return how a draft differs from the parts of one that are wanted, or None."""
    if held is None or wanted is None or held["name"] != wanted["name"]:
        names = [one["name"] if one else "none" for one in (held, wanted)]
        return None if held == wanted else f"its draft is {names[0]}, not {names[1]}"
    other = [part for part, value in wanted.items() if held.get(part) != value]
    if "directory" in other or "files" in other:
        return f"its draft {held['name']} is another copy, or has changed since it was loaded"
    if other:
        return f"its draft is of {held['tokens']} tokens at a time, not {wanted['tokens']}"
    return None


def is_same_model(warm: Warm, wanted: Wanted) -> bool:
    """Return True if an engine holds the model of that name, in whatever revision."""
    held = warm.order.identity
    return wanted.model == held.model or wanted.directory == held.directory


def named(model: str | None, running: list[Warm]) -> Warm:
    """Return the engine with this model's name or key; None stands for the only one there is.

    Raise UsageError if there is none, or more than one.
    """
    found = [warm for warm in running if model is None or model in _names(warm)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{warm.order.asked} ({warm.folder.name})" for warm in running)
    if not running:
        raise UsageError("No engine is warm; tulu serve MODEL starts one.")
    if not found:
        raise UsageError(f"No warm engine holds {model!r}; there are {known}.")
    raise UsageError(f"Which one? There are {known}; the name in brackets is always one.")


def dead_logs() -> list[Path]:
    """Return the logs of dead engines, the newest first."""
    logs = [folder / "log" for folder in folders() if not is_alive(folder)]
    return sorted((log for log in logs if log.exists()), key=lambda log: -log.stat().st_mtime)


def _names(warm: Warm) -> tuple[str, ...]:
    return warm.order.asked, warm.order.identity.model, warm.folder.name
