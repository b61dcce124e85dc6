"""The command tree as plain values, read from the declarations that the program itself runs by."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import typer

from tools.values import Values, values_of
from tulu_cli.cli import router


@dataclass(frozen=True)
class Parameter:
    """An argument or an option. `help` ends with its default, `summary` is one sentence."""

    name: str
    flags: tuple[str, ...]
    placeholder: str
    help: str
    summary: str
    takes_value: bool
    repeatable: bool
    values: Values

    @property
    def declaration(self) -> str:
        """How --help writes it: `-m, --model MODEL`."""
        return f"{', '.join(self.flags)} {self.placeholder}".strip()


@dataclass(frozen=True)
class Command:
    """One node of the tree; `path` is empty for `tulu` itself."""

    path: tuple[str, ...]
    module: ModuleType
    usage: str
    summary: str
    description: str
    arguments: tuple[Parameter, ...]
    options: tuple[Parameter, ...]
    commands: tuple["Command", ...]

    @property
    def name(self) -> str:
        """As it is typed: `tulu completions show`."""
        return " ".join(("tulu", *self.path))

    def declared(self, name: str) -> tuple[tuple[str, str], ...]:
        """The rows of EXAMPLES, FILES or ENVIRONMENT in the module of the command, if any."""
        rows: tuple[tuple[str, str], ...] = getattr(self.module, name, ())
        return rows

    def walk(self) -> Iterator["Command"]:
        """This command and all below it, in the order of the pages."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read_tree() -> Command:
    """The whole program. Imports every command."""
    group = typer.main.get_command(router.app_of(()))
    return _command(group, _context(group, "tulu", None), ())


def sentence(text: str) -> str:
    """The first sentence of a text, without its full stop and the default behind it."""
    plain = " ".join(text.split("  [")[0].split())
    return re.split(r"(?<=\w)\.(?: |$)", plain, maxsplit=1)[0].rstrip(".")


def _command(command: Any, context: typer.Context, path: tuple[str, ...]) -> Command:
    described = (command.help or "").partition("\f")[0].strip()
    shown = [item for item in command.get_params(context) if not item.hidden]
    parameters = [(item.param_type_name, _parameter(item, context)) for item in shown]
    return Command(
        path=path,
        module=router.module_of(path),
        usage=" ".join(command.collect_usage_pieces(context)),
        summary=sentence(described),
        description=described,
        arguments=tuple(value for kind, value in parameters if kind == "argument"),
        options=tuple(value for kind, value in parameters if kind == "option"),
        commands=tuple(_commands(command, context, path)),
    )


def _commands(command: Any, context: typer.Context, path: tuple[str, ...]) -> Iterator[Command]:
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield _command(inner, _context(inner, name, context), (*path, name))


def _context(command: Any, name: str, parent: typer.Context | None) -> typer.Context:
    return typer.Context(command, parent, info_name=name, **command.context_settings)


def _parameter(item: Any, context: typer.Context) -> Parameter:
    is_argument = item.param_type_name == "argument"
    takes_value = is_argument or not (item.is_flag or item.count)
    return Parameter(
        name=item.name,
        flags=() if is_argument else (*_ordered(item.opts), *_ordered(item.secondary_opts)),
        placeholder=_placeholder(item, context) if takes_value else "",
        help=item.get_help_record(context)[1],
        summary=sentence(item.help or ""),
        takes_value=takes_value,
        repeatable=item.nargs != 1 or getattr(item, "multiple", False),
        values=values_of(item) if takes_value else Values(),
    )


def _ordered(flags: list[str]) -> list[str]:
    """As --help orders them, short before long; Typer's own order of -h and --help is a set's."""
    return sorted(flags, key=lambda flag: (len(flag) - len(flag.lstrip("-")), flags.index(flag)))


def _placeholder(item: Any, context: typer.Context) -> str:
    if item.metavar:
        return str(item.metavar)
    if item.param_type_name == "argument":
        return str(item.name).upper()
    return str(item.display_type_rich(context))
