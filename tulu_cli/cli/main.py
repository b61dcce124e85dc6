"""Run the subcommand that argv names, and turn every error into a sentence and an exit code."""

import gc
import os
import select
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import typer

from tulu_cli import __version__
from tulu_cli.cli.router import app_of, listing_app, route
from tulu_cli.errors import ExitCode, TuluError


def main() -> NoReturn:
    """Run the program, and end the process with a code of `ExitCode` or of a signal."""
    arguments = sys.argv[1:]
    try:
        reserve_descriptors()
        end_on_signals()
        code = run(arguments)
    except BaseException as error:  # noqa: BLE001  this is the boundary
        signal.signal(signal.SIGINT, _leave)
        code = explain(error, debug="--debug" in arguments)
    signal.signal(signal.SIGINT, _leave)
    gc.freeze()  # looking for garbage once more would be a twentieth of what `tulu plan` takes
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code. Raise whatever goes wrong."""
    if arguments[:1] == ["--version"]:  # before Typer, which would load pydantic to read the flag
        typer.echo(f"tulu {__version__}")
        return ExitCode.OK
    path = route(arguments)
    program = " ".join(("tulu", *path))
    app = app_of(path) if path else listing_app()
    code = app(arguments[len(path) :], prog_name=program, standalone_mode=False)
    return code if isinstance(code, int) else ExitCode.OK


def explain(error: BaseException, *, debug: bool = False) -> int:
    """Say on stderr in one sentence what went wrong, and return the exit code for it."""
    if isinstance(error, typer.Abort) and error.__cause__:  # Typer's word for an EOFError
        error = error.__cause__
    if debug and isinstance(error, Exception):
        from traceback import format_exception

        say("".join(format_exception(error)))
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if _reader_is_gone(error):
        _discard_stdout()
        return ExitCode.BROKEN_PIPE
    if isinstance(error, SystemExit):
        if error.code == 128 + signal.SIGHUP:
            _flush_or_discard_stdout()
        return error.code if isinstance(error.code, int) else ExitCode.FAILURE
    if isinstance(error, TuluError):
        say(f"tulu: {error}")
        return error.exit_code
    if isinstance(error, typer.TyperException):
        said = error.format_message().rstrip(".")
        context = getattr(error, "ctx", None)
        see = f"`{context.command_path if context else 'tulu'} --help`"
        say(f"tulu: {said} See {see}." if said.endswith("?") else f"tulu: {said}; see {see}.")
        return error.exit_code
    return _unexpected(error)


def say(text: str) -> None:
    """Write to stderr, safe for a terminal; ignore a stderr that cannot be written to."""
    from tulu_cli.text import terminal_safe

    with suppress(OSError), open(2, "wb", closefd=False) as stderr:
        stderr.write(terminal_safe(text + "\n").encode("utf-8", "replace"))


def reserve_descriptors() -> None:
    """Open /dev/null for each standard stream that is closed.

    Otherwise the next file or socket would get its number, and receive what a library prints.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this one


def end_on_signals() -> None:
    """Make SIGTERM and SIGHUP end the program as an exception does, with all its clean-up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _terminate)


def _unexpected(error: BaseException) -> int:
    if isinstance(error, MemoryError):
        say("tulu: out of memory; a smaller model or --max-model-len needs less.")
        return ExitCode.DOES_NOT_FIT
    if isinstance(error, OSError) and error.strerror:
        place = f" {error.filename!r}" if error.filename else ""
        say(f"tulu: {error.strerror}{place}; --debug shows where.")
    else:
        say(f"tulu: this is a bug, {type(error).__name__}: {error}; --debug shows where.")
    _discard_stdout()
    return ExitCode.FAILURE


def _reader_is_gone(error: BaseException) -> bool:
    """Return True if the error is a closed stdout, and not another broken pipe."""
    # Typer turns a BrokenPipeError into a SystemExit.
    cause = error.__context__ if isinstance(error, SystemExit) else error
    if not isinstance(cause, BrokenPipeError):
        return False
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _flush_or_discard_stdout() -> None:
    """Flush stdout; a terminal that has hung up takes nothing, which is not a failure."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()


def _discard_stdout() -> None:
    # The interpreter flushes stdout once more at exit and would complain about it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
