"""The completion script of bash: a table of the commands, their options and values."""

from collections import defaultdict
from collections.abc import Iterator
from shlex import quote

from tools.tree import Command, Parameter
from tools.values import Values


def table(root: Command) -> str:
    """Return the branches of `_tulu_table`, one for each command."""
    return "\n".join(line for command in root.walk() for line in _branch(command))


def _branch(command: Command) -> Iterator[str]:
    yield f"        {quote(command.name)})"
    if verbs := " ".join(inner.path[-1] for inner in command.commands):
        yield f"            commands={quote(verbs)}"
    options = (flag for option in command.options for flag in _long(option))
    yield f"            options={quote(' '.join(options))}"
    yield "            case $2 in"
    for values, patterns in _by_values(command).items():
        yield f"                {' | '.join(patterns)}) {_assignments(values)}"
    yield "                *) takes= ;;"
    yield "            esac"
    yield "            ;;"


def _by_values(command: Command) -> dict[Values, list[str]]:
    patterns: dict[Values, list[str]] = defaultdict(list)
    for option in command.options:
        if option.takes_value:
            patterns[option.values].extend(option.flags)
    for number, argument in enumerate(command.arguments):
        rest = f"[{number}-9]*" if argument.repeatable else str(number)
        patterns[argument.values].append(rest)
    return patterns


def _assignments(values: Values) -> str:
    parts = {
        "words": " ".join(candidate.word for candidate in values.words),
        "asks": " ".join(values.asks),
        "paths": values.paths,
    }
    return "".join(f"{name}={quote(text)} " for name, text in parts.items() if text) + ";;"


def _long(option: Parameter) -> tuple[str, ...]:
    """Return the long flags if there are any: bash shows no descriptions for a letter."""
    return tuple(flag for flag in option.flags if flag.startswith("--")) or option.flags
