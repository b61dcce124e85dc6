"""The command tree as plain values, read from the declarations that the program itself runs by."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import typer

from tools.values import Values, values_of
from tulu_cli.cli import help as layout
from tulu_cli.cli import router


@dataclass(frozen=True)
class Parameter:
    """An argument or an option.

    `declaration` is what --help shows (`-m, --model MODEL`), `help` ends with the default, and
    `summary` is one sentence.
    """

    name: str
    flags: tuple[str, ...]
    placeholder: str
    declaration: str
    help: str
    summary: str
    takes_value: bool
    repeatable: bool
    values: Values


@dataclass(frozen=True)
class Command:
    """One node of the tree; `path` is empty for `tulu` itself."""

    path: tuple[str, ...]
    module: ModuleType
    usage: str
    summary: str
    description: str
    arguments: tuple[Parameter, ...]
    sections: tuple[tuple[str, tuple[Parameter, ...]], ...]
    commands: tuple["Command", ...]

    @property
    def options(self) -> tuple[Parameter, ...]:
        """The options of all sections."""
        return tuple(option for _, options in self.sections for option in options)

    @property
    def name(self) -> str:
        """As it is typed: `tulu completions show`."""
        return " ".join(("tulu", *self.path))

    @property
    def exit_codes(self) -> dict[int, str]:
        """The EXIT_CODES in the module of the command, if any."""
        return getattr(self.module, "EXIT_CODES", {})

    def declared(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return the rows of EXAMPLES, FILES or ENVIRONMENT in the command's module, if any."""
        rows: tuple[tuple[str, str], ...] = getattr(self.module, name, ())
        return rows

    def walk(self) -> Iterator["Command"]:
        """Yield this command and all below it, in the order of the pages."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read_tree() -> Command:
    """Return the tree of the whole program. This imports every command."""
    group = typer.main.get_command(router.app_of(()))
    return _command(group, _context(group, "tulu", None), ())


def sentence(text: str) -> str:
    """Return the first sentence of a text, without its full stop and without the default."""
    plain = " ".join(text.split("  [")[0].split())
    return re.split(r"(?<=\w)\.(?: |$)", plain, maxsplit=1)[0].rstrip(".")


def _command(command: Any, context: typer.Context, path: tuple[str, ...]) -> Command:
    described = (command.help or "").partition("\f")[0].strip()
    shown = [item for item in command.get_params(context) if not item.hidden]
    kinds: dict[str, list[Any]] = {"argument": [], "option": []}
    for item in shown:
        kinds[item.param_type_name].append(item)
    return Command(
        path=path,
        module=router.module_of(path),
        usage=" ".join(command.collect_usage_pieces(context)),
        summary=sentence(described),
        description=described,
        arguments=tuple(map(_parameter, kinds["argument"])),
        sections=tuple(
            (title, tuple(map(_parameter, items)))
            for title, items in layout.sections(kinds["option"]).items()
        ),
        commands=tuple(_commands(command, context, path)),
    )


def _commands(command: Any, context: typer.Context, path: tuple[str, ...]) -> Iterator[Command]:
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield _command(inner, _context(inner, name, context), (*path, name))


def _context(command: Any, name: str, parent: typer.Context | None) -> typer.Context:
    return typer.Context(command, parent, info_name=name, **command.context_settings)


def _parameter(item: Any) -> Parameter:
    placeholder = layout.placeholder(item)
    return Parameter(
        name=item.name,
        flags=(*layout.flags(item.opts), *layout.flags(item.secondary_opts)),
        placeholder=placeholder,
        declaration=layout.declaration(item),
        help=layout.description(item),
        summary=sentence(item.help or ""),
        takes_value=bool(placeholder),
        repeatable=item.nargs != 1 or getattr(item, "multiple", False),
        values=values_of(item) if placeholder else Values(),
    )
