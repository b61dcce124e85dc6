"""Starts of the program that are forks, for tests of what it does and not of how it starts.

A helper imports what the program imports, and runs nothing of it but for reading the tokenizers of
models that are asked for again and again. Each start is a fork of the helper, and from then on a
process as any other: a child of the test, with streams, a folder, an environment, signals and an
exit code of its own. It saves the half second in which Python starts, imports and reads. What such
a fork could not tell from a real start is in `is_faithful`.
"""

import atexit
import ctypes
import fcntl
import gc
import io
import json
import os
import pkgutil
import runpy
import socket
import subprocess
import sys
import termios
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NoReturn

import tulu_cli
from tests.tokenizers import keep_tokenizers
from tulu_cli.errors import TuluError
from tulu_cli.prompt import Tokenizer

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
_MOST_BYTES = 100_000  # of an order, which is one packet
_ROOT = Path(__file__).parents[1]
# What Python and libraries read from the environment once, when they start.
_READ_ONCE = ("PYTHON", "LD_", "LC_", "LANG", "TZ", "HF_", "OMP_", "VLLM_")
# What runs something or loads a large library where it is imported.
_NOT_IMPORTED = ("engines.transformers", "engines.vllm", "doctor.torch_child", "models.hub_errors")
_OPTIONS = {"env", "cwd", "stdin", "stdout", "stderr", "bufsize", "start_new_session"}
_asked_for: set[str] = set()
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


class Forked(subprocess.Popen[bytes]):
    """A start of the program as a fork of a helper; `args` are those of the program alone.

    It may have imported `libraries` too. With `controls`, stdin is the terminal that it controls.
    """

    def __init__(
        self,
        arguments: Sequence[str | bytes],
        *,
        env: Mapping[str, str],
        libraries: tuple[str, ...] = (),
        controls: bool = False,
        **options: Any,
    ) -> None:
        # Coverage measures a process from its start, and only Linux has such forks.
        is_measured = any(name.startswith("COVERAGE_PROCESS") for name in os.environ)
        is_real = is_measured or sys.platform != "linux"
        read_once = tuple(_read_once(env).items())
        self._helper = None if is_real else _helper(libraries, read_once)
        self._controls = controls
        super().__init__(list(arguments), env=env, **options)

    def _execute_child(self, args: Any, executable: Any, preexec: Any, *others: Any) -> None:
        execute = subprocess.Popen._execute_child  # type: ignore[attr-defined]
        if self._helper is None:
            real = [sys.executable, "-m", "tulu_cli", *args]
            execute(self, real, executable, _take_terminal if self._controls else preexec, *others)
            return
        asked = signature(execute).bind(self, args, executable, preexec, *others).arguments
        order = {
            "arguments": [os.fsdecode(word) for word in asked["args"]],
            "environment": dict(asked["env"]),
            "folder": os.fspath(asked["cwd"] or os.getcwd()),
            "leads": asked["start_new_session"],
            "controls": self._controls,
            "parent": os.getpid(),
        }
        pipes = {name: asked[name] for name in _PIPES}
        own = (pipes["p2cread"], pipes["c2pwrite"], pipes["errwrite"])
        streams = [stream if stream != -1 else number for number, stream in enumerate(own)]
        self.pid = self._helper.start(json.dumps(order).encode(), streams)
        self._child_created = True
        self._close_pipe_fds(**pipes)  # type: ignore[attr-defined]


def is_faithful(
    arguments: Sequence[str | bytes], options: Mapping[str, Any], usual: Mapping[str, str]
) -> bool:
    """Whether a fork does all that a start with these options of Popen would do.

    A helper is for the usual environment: what is read once must be the same.
    """
    environment: Mapping[str, str] = options["env"]
    size = sum(map(len, arguments)) + sum(
        len(name) + len(environment[name]) for name in environment
    )
    return (
        options.keys() <= _OPTIONS
        and 2 * size < _MOST_BYTES
        and _read_once(environment) == _read_once(usual)
    )


class _Helper:
    """A process that is forked. It ends with this one."""

    def __init__(self, libraries: Sequence[str], environment: Mapping[str, str]) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = its.fileno()
        command = [sys.executable, "-m", "tests.forkserver", str(number), *libraries]
        self._process = subprocess.Popen(command, env=environment, cwd=_ROOT, pass_fds=[number])
        its.close()
        atexit.register(self._close)

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()

    def start(self, order: bytes, streams: Sequence[int]) -> int:
        """Return the number of a new child of this process."""
        prctl = ctypes.CDLL(None).prctl
        prctl(_SUBREAPER, 1)  # a child whose parent has ended becomes one of ours
        try:
            socket.send_fds(self._socket, [order], streams)
            return int(self._socket.recv(32))
        finally:
            prctl(_SUBREAPER, 0)


@cache
def _helper(libraries: tuple[str, ...], read_once: tuple[tuple[str, str], ...]) -> _Helper:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_READ_ONCE)}
    return _Helper(libraries, kept | dict(read_once))


def _read_once(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(_READ_ONCE)}


def serve(orders: socket.socket) -> None:
    """Fork a child for each order; return in the child, and end when no more orders come."""
    while True:
        message, streams, *_ = socket.recv_fds(orders, _MOST_BYTES, 3)
        if not message:
            os._exit(0)
        order = json.loads(message)
        _read_tokenizer(order["arguments"])
        if between := os.fork():
            os.waitpid(between, 0)
            for stream in streams:
                os.close(stream)
        elif os.fork():
            os._exit(0)
        else:
            break
    while os.getppid() != order["parent"]:
        time.sleep(0.0001)
    if order["leads"]:
        os.setsid()
    orders.send(str(os.getpid()).encode())
    _take_over(order, streams)
    if order["controls"]:
        _take_terminal()


def _read_tokenizer(arguments: Sequence[str]) -> None:
    """Read the tokenizer of a model that has been asked for before, for all children to come."""
    for word in arguments:
        if os.path.isfile(f"{word}/tokenizer.json"):
            if word in _asked_for:
                with suppress(TuluError):
                    Tokenizer.load(Path(word))
            _asked_for.add(word)


def _take_terminal() -> None:
    """Control the terminal on stdin: Ctrl-C there is a signal for us."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _take_over(order: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Have the streams, the environment, the folder and the arguments of a start of its own."""
    kinds = [(stream.encoding, stream.errors) for stream in (sys.stdin, sys.stdout, sys.stderr)]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(streams) + 1)
    made = []
    for number, (encoding, errors) in enumerate(kinds):
        mode, newline = ("wb", "\n") if number else ("rb", None)
        file = open(number, mode, closefd=False)  # noqa: SIM115  it is the process's own
        by_lines = number == 2 or os.isatty(number)
        made.append(io.TextIOWrapper(file, encoding, errors, newline, line_buffering=by_lines))
    sys.stdin, sys.stdout, sys.stderr = made
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.path[0] = order["folder"]
    sys.argv = ["tulu", *order["arguments"]]


def main() -> None:
    """Import the program, wait for orders, and in each child be the program."""
    for module in pkgutil.walk_packages(tulu_cli.__path__, "tulu_cli."):
        name = module.name.removeprefix("tulu_cli.")
        if not name.startswith(_NOT_IMPORTED) and "__main__" not in name:
            import_module(module.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, which a real start has too
        for name in sys.argv[2:]:
            import_module(name)
    keep_tokenizers()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        runpy.run_module("tulu_cli", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _end(end.code if isinstance(end.code, int) else 1)


def _end(code: int) -> NoReturn:
    """End as Python does, but for clearing up the modules, which takes longer than most tests."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        code = 120
    os._exit(code)


if __name__ == "__main__":
    main()
