"""Which subcommand the arguments name, and the Typer app that runs it.

Only the module of the subcommand that was asked for is imported, and it imports what it needs
when it runs; `tulu --help` reads the first line of each.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

import tulu_cli
from tulu_cli import __version__
from tulu_cli.cli.plain_values import Command
from tulu_cli.errors import ExitCode, UsageError

_HELP = {"help_option_names": ["-h", "--help"]}
_COMMANDS = Path(tulu_cli.__file__).parent / "commands"


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
