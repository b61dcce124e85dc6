"""What could come next on the line, and the paths that could."""

import os
from collections.abc import Iterator
from dataclasses import dataclass


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
