"""Arguments of slash commands: how they are read, and how they are completed."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tulu_cli.errors import UsageError

Pairs = Iterable[tuple[str, str]]


def choices(*pairs: tuple[str, str]) -> Callable[[object, str], Pairs]:
    """Return a completer for an argument that is one of these (word, description) pairs."""
    return lambda _chat, begun: [pair for pair in pairs if pair[0].startswith(begun)]


def whole_number(text: str, command: str, *, least: int) -> int:
    """Return the whole number in an argument. Raise UsageError if it is below `least`."""
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{command} takes a whole number from {least} on, not {text!r}.")
    return int(text)


def paths_in(argument: str) -> list[str]:
    """Return the words of an argument, read as by a shell. Raise UsageError for an open quote."""
    try:
        return shlex.split(argument)
    except ValueError as error:
        raise UsageError(f"{argument!r} cannot be read: {str(error).lower()}.") from error


@dataclass(frozen=True, slots=True)
class Candidate:
    """Hold a completion: a text for the last `replaces` characters, and its description."""

    text: str
    replaces: int
    about: str = ""


def last_word(text: str) -> str:
    """Return the last word of a text; a backslash makes the space after it a part of the word."""
    start = 0
    for position, character in enumerate(text):
        if character == " " and text[position - 1 : position] != "\\":
            start = position + 1
    return text[start:]


def path_words(begun: str) -> Iterator[tuple[str, str]]:
    """Yield the paths that begin so, as they have to be typed; hidden ones only after a dot."""
    typed_directory, slash, name = unescaped(begun).rpartition("/")
    directory = os.path.expanduser(typed_directory + slash) or "."
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        hidden = entry.name.startswith(".") and not name.startswith(".")
        if entry.name.startswith(name) and not hidden and entry.name.isprintable():
            end = "/" if entry.is_dir() else ""
            yield escaped(typed_directory + slash + entry.name) + end, ""


def escaped(path: str) -> str:
    """Return a path as a word of a shell; a ~ at its start keeps its meaning."""
    special = " \t\\'\"$`&|;<>()[]{}*?!#"
    return "".join(f"\\{character}" if character in special else character for character in path)


def unescaped(word: str) -> str:
    """Return a word without its backslashes."""
    characters = iter(word)
    return "".join(next(characters, "") if char == "\\" else char for char in characters)
