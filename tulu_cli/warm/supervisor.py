"""The process that minds one warm engine: `python -m tulu_cli.warm.supervisor FOLDER`.

It is small, loads no engine, restarts nothing, and ends when the engine does: at a signal, when the
engine was idle for long enough, or when the server is dead. Whatever ends it, no process of the
engine is meant to outlive it; what does, because this one was killed, the next command sweeps up.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tulu_cli.disk import lock
from tulu_cli.processes import MARK, end_group
from tulu_cli.warm import lease
from tulu_cli.warm.record import LaunchOrder, State, read_order, remove, write_json
from tulu_cli.warm.unix_http import get

# glibc keeps what was freed in an arena, of which it makes 8 a core for the threads that read long
# prompts (mallopt(3)). What the user has set comes first.
_FRUGAL = {"MALLOC_ARENA_MAX": "2"}
_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LOADING_SECONDS = 0.1  # between two looks at a server that loads, and at one that runs
_RUNNING_SECONDS = 1.0
_GRACE_SECONDS = 10.0
_DEAD_SECONDS = 2.0  # for what is left of a server that is dead, or whose engine is


def main(folder: Path) -> int:
    """Mind the engine of `folder` until it ends; return 0 if it was meant to end."""
    os.umask(0o077)
    order = read_order(folder)
    if order is None:
        return 1
    with (folder / "alive").open("ab") as alive:
        lock(alive.fileno())
        (folder / "lease").touch()
        (folder / "socket").unlink(missing_ok=True)
        waiter = SignalWaiter(leashed=order.leashed)
        server = start_server(folder, order)
        meant = Supervisor(folder, order, server, waiter).run()
    return 0 if meant else 1


def start_server(folder: Path, order: LaunchOrder) -> "subprocess.Popen[bytes]":
    """Start the server at the head of a process group of its own."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*order.command, str(folder)],
            env=_FRUGAL | os.environ | dict(order.environment) | {MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )


class SignalWaiter:
    """Waits for a signal, or for the end of the command that holds the engine's leash."""

    def __init__(self, *, leashed: bool) -> None:
        self.told_to_end = False
        self._reader, writer = socket.socketpair()
        self._writer = writer
        for end in (self._reader, writer):
            end.settimeout(0)
        signal.set_wakeup_fd(writer.fileno())
        for number in (*_ENDING, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._leash: list[int] = [0] if leashed else []

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or at once if something happens."""
        watched = [self._reader.fileno(), *self._leash]
        ready = select.select(watched, [], [], max(0.0, seconds))[0]
        if watched[0] in ready:
            rung = self._reader.recv(64)
            self.told_to_end |= any(number in _ENDING for number in rung)
        if 0 in ready and not os.read(0, 64):
            self.told_to_end = True
            self._leash = []


class Supervisor:
    """Watches one server, and ends it when it is idle or dead."""

    def __init__(
        self,
        folder: Path,
        order: LaunchOrder,
        server: "subprocess.Popen[bytes]",
        waiter: SignalWaiter,
    ) -> None:
        self._folder = folder
        self._order = order
        self._server = server
        self._waiter = waiter
        self._socket = folder / "socket"
        self._state = State(os.getpid(), server.pid, time.time())
        self._write_state()

    def run(self) -> bool:
        """Watch until the engine ends. Return True if it was meant to end."""
        while not self._waiter.told_to_end:
            if self._server.poll() is not None or self._engine_is_dead():
                return self._end_unmeant()
            if self._is_idle():
                break
            self._waiter.wait(self._pause())
        end_group(self._server.pid, _GRACE_SECONDS)
        self._server.wait()
        remove(self._folder, keep_log=False)
        return True

    def _end_unmeant(self) -> bool:
        end_group(self._server.pid, _DEAD_SECONDS)
        code = self._server.wait()
        loading = not self._state.ready
        if loading and not (self._folder / "failure.json").exists():
            message = f"The server ended while it loaded, with code {code}."
            write_json(self._folder / "failure.json", {"error": "EngineError", "message": message})
        # Whoever waits for a start reads why it failed, and then removes it.
        remove(self._folder, keep_log=True, keep_failure=loading)
        return False

    def _engine_is_dead(self) -> bool:
        """Ask the server for its health, and record when it becomes ready."""
        if not self._socket.exists():
            return False
        try:
            status, _ = get(self._socket, "/health")
        except OSError:
            return False  # busy, or not yet listening: its process is watched
        if status == 200 and not self._state.ready and (self._folder / "info.json").exists():
            lease.touch(self._folder)
            self._state = State(
                self._state.supervisor, self._state.server, self._state.started, time.time()
            )
            self._write_state()
        return status == 503

    def _is_idle(self) -> bool:
        """Return True if the engine was idle for long enough, and is locked against new users."""
        if not (self._order.keep_alive and self._state.ready):
            return False
        if self._requests():
            lease.touch(self._folder)
        if self._idle_for() < self._order.keep_alive:
            return False
        self._alone = lease.take_alone(self._folder)
        if self._alone is None:
            lease.touch(self._folder)
        return self._alone is not None

    def _idle_for(self) -> float:
        return time.time() - (lease.last_used(self._folder) or self._state.ready)

    def _requests(self) -> int:
        """Return the number of running requests, those of programs without a lease included."""
        with suppress(OSError, ValueError, KeyError):
            return int(json.loads(get(self._socket, "/load")[1])["server_load"])
        return 0

    def _pause(self) -> float:
        if not self._state.ready:
            return _LOADING_SECONDS
        if not self._order.keep_alive:
            return _RUNNING_SECONDS
        left = self._order.keep_alive - self._idle_for()
        return min(_RUNNING_SECONDS, max(left, 0.01))

    def _write_state(self) -> None:
        write_json(
            self._folder / "state.json",
            {name: getattr(self._state, name) for name in State.__slots__},
        )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
