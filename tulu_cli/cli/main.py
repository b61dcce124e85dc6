"""From argv to an exit code: runs the subcommand, and is the one place where errors end."""

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
    """The program. Ends the process with one of the codes of `ExitCode`."""
    arguments = sys.argv[1:]
    try:
        reserve_descriptors()
        end_on_signals()
        code = run(arguments)
    except BaseException as error:  # noqa: BLE001  this is the boundary
        signal.signal(signal.SIGINT, _leave)
        code = explain(error, debug="--debug" in arguments)
    signal.signal(signal.SIGINT, _leave)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command; returns the exit code that it asks for, raises whatever goes wrong."""
    if arguments[:1] == ["--version"]:  # before Typer, which would load pydantic to read the flag
        typer.echo(f"tulu {__version__}")
        return ExitCode.OK
    path = route(arguments)
    program = " ".join(("tulu", *path))
    app = app_of(path) if path else listing_app()
    code = app(arguments[len(path) :], prog_name=program, standalone_mode=False)
    return code if isinstance(code, int) else ExitCode.OK


def explain(error: BaseException, *, debug: bool = False) -> int:
    """Say on stderr what went wrong, in one sentence; returns the exit code that it has."""
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
        say(f"tulu: {error.format_message().rstrip('.')}; --help shows what there is.")
        return error.exit_code
    return _unexpected(error)


def say(text: str) -> None:
    """Talk on stderr, made safe for a terminal; a stderr that takes none is no reason to fail."""
    from tulu_cli.text import terminal_safe

    with suppress(OSError), open(2, "wb", closefd=False) as stderr:
        stderr.write(terminal_safe(text + "\n").encode("utf-8", "replace"))


def reserve_descriptors() -> None:
    """Open /dev/null for each standard stream that is closed.

    Else the next file or socket gets its number, and what a library prints goes there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this one


def end_on_signals() -> None:
    """Make SIGTERM and a terminal that hangs up end the program in order, as an exception does."""
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
    """Whether the error is that nobody reads stdout any more, and not some other pipe's."""
    # Typer turns a BrokenPipeError into a SystemExit.
    cause = error.__context__ if isinstance(error, SystemExit) else error
    if not isinstance(cause, BrokenPipeError):
        return False
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _flush_or_discard_stdout() -> None:
    """A terminal that has hung up takes nothing any more, which is no failure of its own."""
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
