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
from types import FrameType, ModuleType
from typing import Annotated, NoReturn

import typer

from tulu_cli import __version__
from tulu_cli.arguments import Command
from tulu_cli.errors import ExitCode, TuluError, UsageError

_HELP = {"help_option_names": ["-h", "--help"]}
_COMMANDS = Path(__file__).parent / "commands"


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


def command_names(*group: str) -> list[str]:
    """The subcommands of `tulu`, or of a group of them: the modules and folders of its folder.

    A folder in commands/ is a group, and the modules in it are its verbs. What begins with an
    underscore is no command; one that ends with it is named like a word of Python (import_.py).
    """
    entries = _COMMANDS.joinpath(*group).iterdir()
    names = (entry.stem for entry in entries if entry.suffix == ".py" or _is_group(entry))
    return sorted(name.rstrip("_") for name in names if not name.startswith("_"))


def route(arguments: list[str]) -> tuple[str, ...]:
    """The command that the arguments begin with: no name, one, or a group's and its verb's."""
    path: tuple[str, ...] = ()
    for word in arguments:
        if not _is_group(_COMMANDS.joinpath(*path)) or word not in command_names(*path):
            break
        path = (*path, word)
    return path


def app_of(path: tuple[str, ...]) -> typer.Typer:
    """The app of one command, which is quicker to start as no other is imported, or of a group."""
    if _is_group(_COMMANDS.joinpath(*path)):
        return _group_app(path)
    app = _empty_app()
    _add(app, path)
    return app


def listing_app() -> typer.Typer:
    """The app that can only be asked what commands there are: it imports none of them."""
    app = _empty_app()
    _set_callback(app, ())
    for name in command_names():
        app.command(name, short_help=_summary_in_source(name))(_never_run)
    return app


def _never_run() -> None:
    """`route` finds a command that comes first."""
    raise UsageError("The command comes first: tulu COMMAND [OPTIONS].")


def _summary_in_source(name: str) -> str:
    """What `summary_of` would say of a command, read from its file: a test holds them together."""
    entry = _COMMANDS / name
    path = entry / "__init__.py" if _is_group(entry) else entry.with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    function = max(0, text.find(f"\ndef {name}("))
    return summary_of(text[function:].partition('"""')[2].partition('"""')[0])


def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """The terminal suite for the Tülu 3 models, and any other chat model on Hugging Face."""
    if version:
        typer.echo(f"tulu {__version__}")
        raise typer.Exit(ExitCode.OK)
    show_commands(context)


def show_commands(context: typer.Context) -> None:
    """What a group without a verb does, if its package has no function of its name: say help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.USAGE)


def _empty_app() -> typer.Typer:
    # Rich would double the time that --help takes, and draw boxes into pipes.
    return typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)


def _group_app(path: tuple[str, ...]) -> typer.Typer:
    app = _empty_app()
    _set_callback(app, path)
    for name in command_names(*path):
        _add(app, (*path, name))
    return app


def _set_callback(app: typer.Typer, path: tuple[str, ...]) -> None:
    package = module_of(path)
    callback = getattr(package, path[-1], None) if path else root
    about = callback.__doc__ if callback else package.__doc__
    app.callback(
        help=about,
        short_help=summary_of(about),
        epilog=examples_of(package),
        invoke_without_command=True,
        context_settings=_HELP,
    )(callback or show_commands)


def _add(app: typer.Typer, path: tuple[str, ...]) -> None:
    if _is_group(_COMMANDS.joinpath(*path)):
        app.add_typer(_group_app(path), name=path[-1])
        return
    module = module_of(path)
    function = getattr(module, module.__name__.rpartition(".")[2])
    app.command(
        path[-1],
        cls=Command,
        short_help=summary_of(function.__doc__),
        epilog=examples_of(module),
        context_settings=_HELP,
    )(function)


def module_of(path: tuple[str, ...]) -> ModuleType:
    """The module of a command, or the package of a group; that of all commands for no name."""
    entry = _COMMANDS.joinpath(*path)
    is_word = not path or _is_group(entry) or entry.with_name(f"{path[-1]}.py").is_file()
    return import_module(".".join(("tulu_cli.commands", *path)) + ("" if is_word else "_"))


def summary_of(docstring: str | None) -> str:
    """Its first line, for the list of commands: given whole, it is wrapped there and not cut."""
    return (docstring or "").strip().partition("\n")[0]


def examples_of(module: ModuleType) -> str | None:
    """What --help ends with: the EXAMPLES that a command's module may have, each as it is typed."""
    examples = getattr(module, "EXAMPLES", ())
    lines = [line for about, command in examples for line in (f"  # {about}", f"  {command}")]
    return "\n".join(("\b", "Examples:", *lines)) if lines else None


def _is_group(entry: Path) -> bool:
    return (entry / "__init__.py").is_file()


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
