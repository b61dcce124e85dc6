"""Small readings of text that several slash commands share."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tulu_cli.errors import UsageError

Pairs = Iterable[tuple[str, str]]


def choices(*pairs: tuple[str, str]) -> Callable[[object, str], Pairs]:
    """The completion of an argument that is one of these, each with what it is."""
    return lambda _chat, begun: [pair for pair in pairs if pair[0].startswith(begun)]


def whole_number(text: str, command: str, *, least: int) -> int:
    """The number that an argument is. Raises UsageError."""
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{command} takes a whole number from {least} on, not {text!r}.")
    return int(text)


def paths_in(argument: str) -> list[str]:
    """The words of an argument, as a shell reads them. Raises UsageError for an open quote."""
    try:
        return shlex.split(argument)
    except ValueError as error:
        raise UsageError(f"{argument!r} cannot be read: {str(error).lower()}.") from error


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion: its text in the place of the last `replaces` characters, and what it is."""

    text: str
    replaces: int
    about: str = ""


def last_word(text: str) -> str:
    """The word that the text ends in; a backslash makes the space after it a part of the word."""
    start = 0
    for position, character in enumerate(text):
        if character == " " and text[position - 1 : position] != "\\":
            start = position + 1
    return text[start:]


def path_words(begun: str) -> Iterator[tuple[str, str]]:
    """The paths that begin so, as they have to be typed; hidden ones where a dot is typed."""
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
    """A path as a shell's word; a ~ at its start keeps its meaning."""
    special = " \t\\'\"$`&|;<>()[]{}*?!#"
    return "".join(f"\\{character}" if character in special else character for character in path)


def unescaped(word: str) -> str:
    """A word without its backslashes."""
    characters = iter(word)
    return "".join(next(characters, "") if char == "\\" else char for char in characters)
