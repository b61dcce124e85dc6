"""Make a manual page for each command from its declarations."""

import re
from collections.abc import Iterator
from pathlib import Path

from tools import facts
from tools.facts import Fact
from tools.roff import entry, escaped, filled, prose, section, verbatim
from tools.tree import Command, Parameter
from tulu_cli import __version__
from tulu_cli.errors import ExitCode

_CHANGES = Path(__file__).parent.parent / "CHANGELOG.md"
# The date of the pages before the first release, which has its date in the changelog.
_FIRST_DATE = "2026-11-24"

Rows = list[tuple[str, str]]


def pages(root: Command) -> dict[str, str]:
    """Return the text of every page, by its file name."""
    return {f"{_title(one)}.1": "\n".join((*_page(one, root), "")) for one in root.walk()}


def _page(command: Command, root: Command) -> Iterator[str]:
    yield r".\" Written by tools/gen_docs.py from the declarations of the options: change those."
    yield f'.TH {_title(command).upper()} 1 {_date()} "tulu {__version__}" "Manual of tulu"'
    yield from section("NAME", list(filled(f"{_title(command)} - {command.summary}")))
    synopsis = rf"\fB{escaped(command.name)}\fR {escaped(command.usage)}"
    yield from section("SYNOPSIS", [synopsis])
    yield from section("DESCRIPTION", list(prose(command.description)))
    verbs = [(inner.path[-1], f"{inner.summary}.") for inner in command.commands]
    exits = {code.value: code.meaning for code in ExitCode} | command.exit_codes
    yield from section("COMMANDS", _list(verbs))
    yield from section("ARGUMENTS", _list(_parameters(command.arguments)))
    yield from section("OPTIONS", _options(command))
    yield from section("EXIT STATUS", _list([(str(code), said) for code, said in exits.items()]))
    yield from section(
        "ENVIRONMENT", _list(_facts(facts.ENVIRONMENT, "ENVIRONMENT", command, root))
    )
    yield from section("FILES", _list(_facts(facts.FILES, "FILES", command, root)))
    yield from section("EXAMPLES", list(_examples(command)))
    yield from section("SEE ALSO", _references(command, root))


def _title(command: Command) -> str:
    return command.name.replace(" ", "-")


def _date() -> str:
    changes = _CHANGES.read_text(encoding="utf-8")
    released = re.search(r"^## \[[\d.]+\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    return released[1] if released else _FIRST_DATE


def _list(rows: Rows) -> list[str]:
    return [line for term, text in rows for line in entry(term, text)]


def _parameters(parameters: tuple[Parameter, ...]) -> Rows:
    return [(parameter.declaration, parameter.help) for parameter in parameters]


def _options(command: Command) -> list[str]:
    """Return the options under the section headings of --help."""
    if len(command.sections) == 1:
        return _list(_parameters(command.options))
    return [
        line
        for title, options in command.sections
        for line in (f".SS {escaped(title)}", *_list(_parameters(options)))
    ]


def _facts(shared: tuple[Fact, ...], name: str, command: Command, root: Command) -> Rows:
    """Return the facts for the command, its groups and its verbs."""
    options = {option.name for one in command.walk() for option in one.options}
    names = set(command.path)
    holds = [
        fact
        for fact in shared
        if not (names and fact.options) or fact.options & options or fact.commands & names
    ]
    related = [one for one in root.walk() if one.path and _are_related(one, command)]
    own = [row for one in related for row in one.declared(name)]
    return list(dict.fromkeys((*((fact.name, fact.about) for fact in holds), *own)))


def _are_related(one: Command, other: Command) -> bool:
    shorter = min(len(one.path), len(other.path))
    return one.path[:shorter] == other.path[:shorter]


def _examples(command: Command) -> Iterator[str]:
    """Yield the command's own examples, or else those of its verbs."""
    own = command.declared("EXAMPLES")
    below = (row for one in command.walk() for row in one.declared("EXAMPLES"))
    for about, typed in own or below:
        yield from (".PP", f"{escaped(about)}:", *verbatim([typed]))


def _references(command: Command, root: Command) -> list[str]:
    """Return references to the pages above the command, beside it in its group, and below it."""
    above = [one for one in root.walk() if one.path == command.path[: len(one.path)]]
    beside = above[-2].commands if len(above) > 2 else ()
    named = dict.fromkeys(_title(one) for one in (*above, *beside, *command.commands))
    titles = [title for title in named if title != _title(command)]
    ends = [
        ",",
    ] * (len(titles) - 1) + [""]
    return [f".BR {escaped(title)} (1){end}" for title, end in zip(titles, ends, strict=True)]
