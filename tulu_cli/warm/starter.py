"""Start a warm engine: one command starts it, and others that want the same wait for it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from tulu_cli import errors
from tulu_cli.disk import locked
from tulu_cli.errors import EngineDied, EngineError, TuluError
from tulu_cli.processes import end_marked, last_line
from tulu_cli.streams import Progress
from tulu_cli.warm.finder import is_alive, runtime_directory, start_lock
from tulu_cli.warm.record import LaunchOrder, Warm, read_warm, remove, write_json

_TAIL = 32768
# What a server prints when a stage begins, and what the stage is. A later one wins.
_STAGES = (
    (re.compile(r"^tulu: stage (.+)$", re.MULTILINE), r"\1"),
    (re.compile(r"Initializing a V\d LLM engine"), "starting the worker"),
    (re.compile(r"Starting to load model"), "loading weights"),
    (re.compile(r"Dynamo bytecode transform|Compiling a graph"), "compiling"),
    (re.compile(r"Capturing CUDA graph"), "capturing CUDA graphs"),
    (re.compile(r"Starting vLLM server|Started server process"), "opening the socket"),
)
_SHARDS = re.compile(r"checkpoint shards:\s+\d+% Completed \| (\d+)/(\d+)")


def stage(log: Path) -> tuple[str, int, int]:
    """Return the stage that a log has reached, with the shards loaded and their number."""
    try:
        text = log.read_bytes()[-_TAIL:].decode("utf-8", errors="replace")
    except OSError:
        text = ""
    name = "starting"
    place = -1
    for pattern, said in _STAGES:
        for match in pattern.finditer(text):
            if match.start() > place:
                place, name = match.start(), match.expand(said)
    shards = _SHARDS.findall(text)
    if name == "loading weights" and shards:
        done, total = shards[-1]
        return f"loading weights, {total} shards", int(done), int(total)
    return name, 0, 0


_LOOK_SECONDS = 0.05
_END_SECONDS = 20.0
# Supervisors that this process has started. They outlive it, and nobody waits for their end.
_supervisors: "list[Lasting]" = []


class Lasting(subprocess.Popen[bytes]):
    """A child process that is meant to outlive this one, without a warning that it does."""

    def __del__(self) -> None:
        """Leave the process running."""


def start(order: LaunchOrder, progress: Progress) -> Warm:
    """Return the engine of this order, ready; it is started unless another command has done so.

    Raise the server's reason if it cannot load: DoesNotFit, NoEngine, EngineError or UsageError. An
    interruption ends what this call has started.
    """
    folder = runtime_directory() / order.identity.key
    waiting = f"Waiting for another command that starts {order.asked}"
    with locked(start_lock(folder), lambda: progress(waiting, 0, 0)):
        if is_alive(folder):
            return _ready(folder, order, progress, lambda: is_alive(folder))
        supervisor = _spawn(folder, order)
        try:
            return _ready(folder, order, progress, lambda: supervisor.poll() is None)
        except BaseException:
            if supervisor.poll() is None:
                supervisor.terminate()
                supervisor.wait()
            raise


def stop(warm: Warm) -> None:
    """End an engine and wait until it is gone. Raise EngineError if it does not end."""
    with suppress(ProcessLookupError):
        os.kill(warm.state.supervisor, signal.SIGTERM)
    wait_until_gone(warm.folder)


def is_ours(warm: Warm) -> bool:
    """Return True if this process has started the engine."""
    return any(one.pid == warm.state.supervisor for one in _supervisors)


def stay_until_end(warm: Warm) -> bool:
    """Wait for the end of an engine that is ours. Return True if it was meant to end."""
    (supervisor,) = (one for one in _supervisors if one.pid == warm.state.supervisor)
    return supervisor.wait() == 0


def wait_until_gone(folder: Path) -> None:
    """Wait for the end of a supervisor. Raise EngineError if that takes too long."""
    end = time.monotonic() + _END_SECONDS
    while is_alive(folder):
        if time.monotonic() > end:
            raise EngineError(f"The engine in {folder} does not end: kill its processes.")
        time.sleep(_LOOK_SECONDS)


def _spawn(folder: Path, order: LaunchOrder) -> Lasting:
    end_marked(folder)
    remove(folder, keep_log=False)
    folder.mkdir(mode=0o700)
    write_json(folder / "order.json", asdict(order))
    # -P: no module of the working directory may take the place of one of ours.
    command = [sys.executable, "-P", "-m", "tulu_cli.warm.supervisor", str(folder)]
    with (folder / "log").open("wb") as log:
        supervisor = Lasting(
            command,
            stdin=subprocess.PIPE if order.leashed else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    _supervisors.append(supervisor)
    return supervisor


def _ready(folder: Path, order: LaunchOrder, progress: Progress, lives: Callable[[], bool]) -> Warm:
    name, engine = order.asked, order.identity.engine
    while True:
        alive = lives()  # before the papers are read: they may be written in between
        warm = read_warm(folder)
        if warm is not None and warm.is_ready:
            return warm
        if not alive:
            raise _failure(folder, name)
        what, done, total = stage(folder / "log")
        progress(f"Starting {name} with {engine}: {what}", done, total)
        time.sleep(_LOOK_SECONDS)


def _failure(folder: Path, name: str) -> TuluError:
    """Return why an engine did not become ready, as the server said it."""
    path = folder / "failure.json"
    try:
        told = json.loads(path.read_bytes())
        kind = getattr(errors, str(told["error"]), EngineError)
        error: TuluError = kind(str(told["message"]))
    except (OSError, ValueError, KeyError):
        return EngineDied(f"The engine of {name} was ended while it loaded{_last_words(folder)}.")
    remove(folder, keep_log=True)
    return error


def _last_words(folder: Path) -> str:
    try:
        return f" ({last_line(folder / 'log')})"
    except OSError:
        return ""
