"""The layout of --help: options in sections, each with its names, its placeholder and a sentence.

Typer's own layout is one flat list with types and ranges in it (`PORT <int range>`), and its other
one needs rich, which would double the time that --help takes. An option names its section as
`rich_help_panel`. The manual pages and the completions are made of the same parts.
"""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperGroup

UNNAMED, LAST = "Options", "Other"
WIDEST = 26  # columns for the names of an option; longer ones have a line of their own


class SectionedHelp:
    """A command whose --help has sections, and its exit codes and examples at the end."""

    epilog: str | None

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options by section and, for a group, its commands."""
        shown = [item for item in self.get_params(ctx) if not item.hidden]  # type: ignore[attr-defined]
        arguments = [item for item in shown if item.param_type_name == "argument"]
        options = [item for item in shown if item.param_type_name == "option"]
        width = min(WIDEST, max(len(declaration(item)) for item in shown))
        for title, items in ({"Arguments": arguments} | sections(options)).items():
            if items:
                rows = [(declaration(item).ljust(width), description(item)) for item in items]
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=width)
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write what `router.epilog_of` says, not indented."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write_text(self.epilog)


class Group(SectionedHelp, TyperGroup):
    """A group of commands with its --help in sections."""


def sections(options: Iterable[Any]) -> dict[str, list[Any]]:
    """Return the options by section, in the order of their declarations; "Other" comes last.

    A command that needs no more sections than these two has one list.
    """
    found: dict[str, list[Any]] = {}
    for option in options:
        is_help = option.name == "help"
        found.setdefault(option.rich_help_panel or (LAST if is_help else UNNAMED), []).append(
            option
        )
    if found.keys() <= {UNNAMED, LAST}:
        return {UNNAMED: [*found.get(UNNAMED, ()), *found.get(LAST, ())]}
    last = found.pop(LAST, [])
    return found | {LAST: last}


def declaration(parameter: Any) -> str:
    """Return how a parameter is typed: `-m, --model MODEL`."""
    names = [flags(parameter.opts), flags(parameter.secondary_opts)]
    return (
        f"{' / '.join(', '.join(each) for each in names if each)} {placeholder(parameter)}".strip()
    )


def flags(names: Iterable[str]) -> list[str]:
    """Return the names of an option, short before long; an argument has none."""
    dashed = [name for name in names if name.startswith("-")]
    return sorted(dashed, key=lambda name: name.startswith("--"))


def placeholder(parameter: Any) -> str:
    """Return the word that stands for a value, empty for a flag."""
    if getattr(parameter, "is_flag", False):
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    choices = parameter.type_descriptor.choices or (parameter.name.upper(),)
    return "|".join(str(getattr(choice, "value", choice)) for choice in choices)


def description(parameter: Any) -> str:
    """Return the help of a parameter, with its default unless the help names it itself."""
    said, default = parameter.help or "", parameter.default
    if default in (None, False, (), []) or not parameter.show_default or "[default: " in said:
        return str(said)
    return f"{said}  [default: {getattr(default, 'value', default)}]"
