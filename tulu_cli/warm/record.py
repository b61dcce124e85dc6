"""The files in the folder of a warm engine, by which other commands find and judge it."""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tulu_cli.core import EngineInfo
from tulu_cli.disk import replace_atomically


@dataclass(frozen=True, slots=True)
class Identity:
    """What an engine holds and how it was started; equal identities give equal answers.

    `files` is the fingerprint of the model's files. `settings` are those fields of EngineSpec that
    decide how a model is loaded, unset ones at their defaults. `versions` are those of the
    installed packages, tulu's own among them.
    """

    model: str
    directory: str
    revision: str | None
    files: str
    engine: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def key(self) -> str:
        """The name of the engine's folder, so that commands with equal identities share it."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """The order to a supervisor: the command to run, and when to end it.

    `asked` is the model's name as the user wrote it. The engine ends after `keep_alive` idle
    seconds, with 0 never; a `leashed` engine ends with the command that started it. `end_token_ids`
    end an answer if a request names none.
    """

    identity: Identity
    asked: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    end_token_ids: tuple[int, ...] = ()
    keep_alive: float = 0.0
    leashed: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """The processes of an engine. Times are seconds of time.time(); `ready` is 0 while it loads.

    `server` is the process that leads the group of all the engine's processes.
    """

    supervisor: int
    server: int
    started: float
    ready: float = 0.0


@dataclass(frozen=True, slots=True)
class Warm:
    """An engine whose supervisor lives. `info` is None until it is loaded."""

    folder: Path
    order: LaunchOrder
    state: State
    info: EngineInfo | None = field(default=None)

    @property
    def socket(self) -> Path:
        """The path of the Unix socket, which exists once the engine is ready."""
        return self.folder / "socket"

    @property
    def is_ready(self) -> bool:
        """True once the engine can answer."""
        return bool(self.state.ready) and self.info is not None


def fingerprint(directory: Path) -> str:
    """Return a hash of the names, sizes and times of a model's files."""
    rows = []
    for path in sorted(directory.iterdir()):
        with suppress(OSError):
            found = path.stat()
            rows.append(f"{path.name} {found.st_size} {found.st_mtime_ns}")
    return sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def write_json(path: Path, document: Any) -> None:
    """Write a file atomically: it appears whole, or not at all."""
    replace_atomically(path, json.dumps(document).encode())


def read_order(folder: Path) -> LaunchOrder | None:
    """Return the order in a folder, or None if there is no valid one."""
    try:
        found = json.loads((folder / "order.json").read_bytes())
        identity = Identity(**found.pop("identity"))
        for name in ("command", "end_token_ids"):
            found[name] = tuple(found[name])
        return LaunchOrder(identity, **found)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def read_state(folder: Path) -> State | None:
    """Return the state in a folder, or None if there is no valid one."""
    try:
        return State(**json.loads((folder / "state.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_info(folder: Path) -> EngineInfo | None:
    """Return what the server in a folder has loaded, or None before that."""
    try:
        return EngineInfo(**json.loads((folder / "info.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_warm(folder: Path) -> Warm | None:
    """Return the engine of a folder, alive or dead, or None without valid records."""
    order, state = read_order(folder), read_state(folder)
    return Warm(folder, order, state, read_info(folder)) if order and state else None


def remove(folder: Path, *, keep_log: bool, keep_failure: bool = False) -> None:
    """Remove the records and the socket of a dead engine."""
    if not keep_log:
        shutil.rmtree(folder, ignore_errors=True)
        return
    if not folder.is_dir():
        return
    kept = {"log", "failure.json"} if keep_failure else {"log"}
    # The order goes last: while it is there, a sweep tries again.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "order.json"):
        if path.name not in kept:
            with suppress(OSError):
                path.unlink()
