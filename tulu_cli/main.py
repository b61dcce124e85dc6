"""From argv to an exit code: finds the subcommand, and is the one place where errors end.

Only the module of the subcommand that was asked for is imported, and it imports what it needs
when it runs; `tulu --help` reads the first line of each.
"""

import os
import select
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from tulu_cli import __version__
from tulu_cli.errors import ExitCode, TuluError

_HELP = {"help_option_names": ["-h", "--help"]}


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
    if arguments and arguments[0] in command_names():
        app, program, arguments = single(arguments[0]), f"tulu {arguments[0]}", arguments[1:]
    else:
        app, program = build_app(), "tulu"
    code = app(arguments, prog_name=program, standalone_mode=False)
    return code if isinstance(code, int) else ExitCode.OK


def command_names() -> list[str]:
    """The subcommands: the modules in commands/."""
    folder = Path(__file__).parent / "commands"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def single(name: str) -> typer.Typer:
    """An app of one subcommand: quicker to start, as no other is imported."""
    app = _empty_app()
    _add(app, name)
    return app


def build_app() -> typer.Typer:
    """The app with all subcommands."""
    app = _empty_app()
    app.callback(invoke_without_command=True, context_settings=_HELP)(root)
    for name in command_names():
        _add(app, name)
    return app


def root(
    context: typer.Context,
    _version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The terminal suite for the Tülu 3 models, and any other chat model on Hugging Face."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.USAGE)


def _empty_app() -> typer.Typer:
    # Rich would double the time that --help takes, and draw boxes into pipes.
    return typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)


def _add(app: typer.Typer, name: str) -> None:
    module = import_module(f"tulu_cli.commands.{name}")
    app.command(name, context_settings=_HELP)(getattr(module, name))


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
    from tulu_cli.streams import terminal_safe

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


def _discard_stdout() -> None:
    # The interpreter flushes stdout once more at exit and would complain about it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)
