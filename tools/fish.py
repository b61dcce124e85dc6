"""The completion script of fish: a line for each verb, option and argument."""

from collections.abc import Iterator

from tools.tree import Command, Parameter
from tools.values import Values


def commands(root: Command) -> str:
    """Return the branches of `__tulu_commands`."""
    groups = [command for command in root.walk() if command.commands]
    return "\n".join(
        _branch(group, " ".join(inner.path[-1] for inner in group.commands)) for group in groups
    )


def valued(root: Command) -> str:
    """Return the branches of `__tulu_valued`."""
    found = {
        command: " ".join(
            flag for option in command.options if option.takes_value for flag in option.flags
        )
        for command in root.walk()
    }
    return "\n".join(_branch(command, flags) for command, flags in found.items() if flags)


def completions(root: Command) -> str:
    """Return the `complete` lines of the whole tree."""
    return "\n".join(line for command in root.walk() for line in _lines(command))


def _branch(command: Command, words: str) -> str:
    name = _quoted(" ".join(command.path))
    return f"        case {name}\n            string split ' ' -- {_quoted(words)}"


def _lines(command: Command) -> Iterator[str]:
    place = f"__tulu_at {_quoted(' '.join(command.path))}"
    for inner in command.commands:
        at_first = _quoted(f"{place} = 0")
        about = _quoted(inner.summary)
        yield f"complete -c tulu -n {at_first} -a {inner.path[-1]} -d {about}"
    for number, argument in enumerate(command.arguments):
        compared = "-ge" if argument.repeatable else "="
        for value in _values(argument.values):
            yield f"complete -c tulu -n {_quoted(f'{place} {compared} {number}')} {value}"
    for option in command.options:
        yield from _option(option, place)


def _option(option: Parameter, place: str) -> Iterator[str]:
    start = f"complete -c tulu -n {_quoted(place)} {' '.join(map(_flag, option.flags))}"
    about = f" -d {_quoted(option.summary)}"
    if not option.takes_value:
        yield start + about
        return
    for value in _values(option.values) or ["-f"]:
        yield f"{start} -r {value}{about}"


def _flag(flag: str) -> str:
    if flag.startswith("--"):
        return f"-l {flag[2:]}"
    return f"-s {flag[1:]}" if len(flag) == 2 else f"-o {flag[1:]}"


def _values(values: Values) -> list[str]:
    """Return the arguments that make fish offer these values, one set for each `complete` line."""
    if values == Values(paths="files"):
        return ["-F"]
    parts = [candidate.word for candidate in values.words]
    parts += [f"(__tulu_ask {kind})" for kind in values.asks]
    if values.paths:
        parts.append(
            "(__tulu_paths)" if values.paths == "files" else "(__fish_complete_directories)"
        )
    return [f"-f -a {_quoted(' '.join(parts))}"] if parts else []


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
