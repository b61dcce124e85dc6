"""Find the subcommand that the arguments name, and make the Typer app that runs it.

Only the module of that subcommand is imported, and it imports what it needs when it runs.
`tulu --help` imports none of them: it reads their first lines.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

import tulu_cli
from tulu_cli import __version__
from tulu_cli.cli.help import Group
from tulu_cli.cli.plain_values import Command
from tulu_cli.errors import ExitCode, UsageError

_HELP = {"help_option_names": ["-h", "--help"]}
_COMMANDS = Path(tulu_cli.__file__).parent / "commands"


def command_names(*group: str) -> list[str]:
    """Return the names of the subcommands of `tulu`, or of a group: the modules in its folder.

    A folder in commands/ is a group, and the modules in it are its verbs. A module whose name
    begins with an underscore is not a command. One that ends with an underscore would otherwise
    be a word of Python (import_.py).
    """
    entries = _COMMANDS.joinpath(*group).iterdir()
    names = (entry.stem for entry in entries if entry.suffix == ".py" or _is_group(entry))
    return sorted(name.rstrip("_") for name in names if not name.startswith("_"))


def route(arguments: list[str]) -> tuple[str, ...]:
    """Return the command that the arguments begin with: (), (command,) or (group, verb)."""
    path: tuple[str, ...] = ()
    for word in arguments:
        if not _is_group(_COMMANDS.joinpath(*path)) or word not in command_names(*path):
            break
        path = (*path, word)
    return path


def app_of(path: tuple[str, ...]) -> typer.Typer:
    """Return the app of one command, which imports no other, or of a group with all its verbs."""
    if _is_group(_COMMANDS.joinpath(*path)):
        return _group_app(path)
    app = _empty_app()
    _add(app, path)
    return app


def listing_app() -> typer.Typer:
    """Return the app that only lists the commands, and imports none of them."""
    app = _empty_app()
    _set_callback(app, ())
    for name in command_names():
        app.command(name, short_help=_summary_in_source(name))(_never_run)
    return app


def _never_run() -> None:
    """Raise UsageError: `route` would have found a command that comes first."""
    raise UsageError("The command comes first: tulu COMMAND [OPTIONS].")


def _summary_in_source(name: str) -> str:
    # A test holds it equal to what `summary_of` returns for the imported command.
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
    """Print the help of a group that was called without a verb and does nothing by itself."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.USAGE)


def _empty_app() -> typer.Typer:
    # Rich would double the time that --help takes, and draw boxes into pipes.
    return typer.Typer(
        cls=Group, rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False
    )


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
        epilog=epilog_of(package),
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
        epilog=epilog_of(module),
        context_settings=_HELP,
    )(function)


def module_of(path: tuple[str, ...]) -> ModuleType:
    """Return the module of a command, or the package of a group or of them all."""
    entry = _COMMANDS.joinpath(*path)
    is_word = not path or _is_group(entry) or entry.with_name(f"{path[-1]}.py").is_file()
    return import_module(".".join(("tulu_cli.commands", *path)) + ("" if is_word else "_"))


def summary_of(docstring: str | None) -> str:
    """Return the first line of a docstring, for the list of commands, which wraps it."""
    return (docstring or "").strip().partition("\n")[0]


def epilog_of(module: ModuleType) -> str | None:
    """Return the end of --help: the EXIT_CODES and EXAMPLES that a command's module may declare."""
    meanings = getattr(module, "EXIT_CODES", {})
    wide = max((len(str(code)) for code in meanings), default=0)
    codes = [f"  {code:<{wide}}  {meaning}" for code, meaning in meanings.items()]
    examples = [
        line
        for about, command in getattr(module, "EXAMPLES", ())
        for line in (f"  # {about}", f"  {command}")
    ]
    blocks = {"Exit codes:": codes, "Examples:": examples}
    # A paragraph that begins with a backspace is not wrapped.
    shown = ["\n".join(("\b", title, *lines)) for title, lines in blocks.items() if lines]
    return "\n\n".join(shown) or None


def _is_group(entry: Path) -> bool:
    return (entry / "__init__.py").is_file()
