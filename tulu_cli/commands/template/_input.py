"""The conversations that a verb is given: a file, stdin, or user turns on the command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from tulu_cli.errors import BadInput, UsageError

if TYPE_CHECKING:
    from tulu_cli.prompt.rows import Chunk
    from tulu_cli.streams import Streams

_SUFFIXES = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Input:
    """What the command line names: a file (`-` is stdin), or texts; neither is stdin too."""

    file: str | None = None
    texts: tuple[str, ...] = ()


def read_input(arguments: list[str] | None, file: str | None) -> Input:
    """Tell a file from texts. Raises UsageError where there are both."""
    texts = tuple(arguments or ())
    if file is None and texts and (texts[0] == "-" or texts[0].lower().endswith(_SUFFIXES)):
        file, texts = texts[0], texts[1:]
    if file is not None and texts:
        raise UsageError(f"A file and texts exclude one another: {texts[0]!r} is too much.")
    return Input(file, texts)


def chunks_of(given: Input, streams: "Streams") -> "Iterator[Chunk]":
    """The conversations as lines of JSON. Raises BadInput, UsageError."""
    from tulu_cli.inputs import well_formed
    from tulu_cli.prompt.rows import Chunk, read_chunks

    if given.texts:
        texts = [well_formed(text, "An argument") for text in given.texts]
        messages = [{"role": "user", "content": text} for text in texts]
        yield Chunk("The command line", 1, [json.dumps(messages).encode()], unit="")
        return
    if streams.stdin_tty and given.file is None:
        raise UsageError("There is no conversation: give a text, a file or -, or pipe one in.")
    with open_binary(given.file, streams) as (opened, name):
        yield from read_chunks(opened, name)


@contextmanager
def open_binary(name: str | None, streams: "Streams") -> "Iterator[tuple[BinaryIO, str]]":
    """A file, or stdin for none and for `-`, with how errors call it. Raises BadInput."""
    from tulu_cli.inputs import shown

    if name in (None, "-"):
        yield streams.stdin, "stdin"
        return
    called = shown(str(name))
    try:
        with open(str(name), "rb") as file:
            yield file, called
    except BrokenPipeError:
        raise  # stdout's
    except OSError as error:
        raise BadInput(f"{called} cannot be read: {error.strerror or error}.") from error
