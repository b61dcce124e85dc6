"""The completion script of zsh: a function with `_arguments` for each command."""

import re
from collections.abc import Iterator

from tools.tree import Command, Parameter
from tools.values import Values


def functions(root: Command) -> str:
    """Return a function for each command; those of a group's verbs follow its own."""
    return "\n\n".join("\n".join(_function(command)) for command in root.walk())


def _function(command: Command) -> Iterator[str]:
    yield f"{_name(command)}() {{"
    specifications = [*map(_option, command.options), *map(_argument, command.arguments)]
    if command.commands:
        yield "    local curcontext=$curcontext state line"
        yield "    local -A opt_args"
        specifications += ["'1: :->command'", "'*:: :->rest'"]
    yield f"    _arguments -S{' -C' if command.commands else ''} \\"
    yield " \\\n".join(f"        {text}" for text in specifications)
    if command.commands:
        yield from _verbs(command)
    yield "}"


def _verbs(command: Command) -> Iterator[str]:
    yield "    case $state in"
    yield "        command)"
    yield "            local -a verbs=("
    for inner in command.commands:
        yield f"                {_quoted(f'{_plain(inner.path[-1])}:{inner.summary}')}"
    yield "            )"
    yield "            _describe -t commands command verbs"
    yield "            ;;"
    yield "        rest)"
    yield "            case $words[1] in"
    for inner in command.commands:
        yield f"                {inner.path[-1]}) {_name(inner)} ;;"
    yield "            esac"
    yield "            ;;"
    yield "    esac"


def _name(command: Command) -> str:
    return "_tulu__" + "__".join(command.path)


def _option(option: Parameter) -> str:
    explained = f"[{_plain(option.summary)}]"
    if option.takes_value:
        explained += f":{_plain(option.placeholder)}:{_action(option.values)}"
    flags = [f"{flag}=" if _has_equals(flag, option) else flag for flag in option.flags]
    before = "*" if option.repeatable else ""
    if len(flags) == 1:
        return _quoted(f"{before}{flags[0]}{explained}")
    before = before or f"({' '.join(option.flags)})"
    return f"'{before}'{{{','.join(flags)}}}{_quoted(explained)}"


def _argument(argument: Parameter) -> str:
    times = "*" if argument.repeatable else ""
    return _quoted(f"{times}:{_plain(argument.placeholder)}:{_action(argument.values)}")


def _action(values: Values) -> str:
    parts = {
        "words": ",".join(_plain(_plain(candidate.word)) for candidate in values.words),
        "asks": ",".join(values.asks),
        "paths": values.paths,
    }
    # A blank action would be a message, and with a message zsh lists options and inserts none.
    return " ".join((" _tulu_values", *(f"{name}={text}" for name, text in parts.items() if text)))


def _has_equals(flag: str, option: Parameter) -> bool:
    return option.takes_value and flag.startswith("--")


def _plain(text: str) -> str:
    """Escape the characters that are special to `_arguments` and `_describe`."""
    return re.sub(r"([\\:\[\]])", r"\\\1", text)


def _quoted(text: str) -> str:
    escaped = text.replace("'", r"'\''")
    return f"'{escaped}'"
