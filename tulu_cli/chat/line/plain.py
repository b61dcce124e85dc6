'''Turns from stdin, one a line or in a block of triple quotes, and what they mean.

A turn is a slash command, or a text for the model.

/name rest       a command, if `name` is letters alone: /etc/hosts and /* are texts; in a pipe
                 and over several lines only if there is such a command
//text           the text /text; // and white space are only themselves
"""text"""       the text, whatever it begins with; it may go over many lines
'''

import re
from dataclasses import dataclass

from tulu_cli.chat.line.terminal import Interrupts
from tulu_cli.prompt import decode_utf8
from tulu_cli.streams import Streams

QUOTES = '"""'
_COMMAND = re.compile(r"/([a-z]+|\?)(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Command:
    """Name a slash command, without its slash, and its argument, stripped."""

    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Say:
    """Hold a text for the model, exactly as it was typed."""

    text: str


def understand(text: str) -> Command | Say | None:
    """Return the meaning of a turn; None if it is only white space."""
    if not text.strip():
        return None
    if text.startswith(QUOTES):
        return Say(inside_block(text))
    if text.startswith("//") and not text[2:3].isspace():
        return Say(text[1:])
    if match := _COMMAND.fullmatch(text):
        return Command(match[1], (match[2] or "").strip())
    return Say(text)


def in_open_block(text: str) -> bool:
    """Return True if `text` begins a block that is not closed yet, so that it goes on."""
    if not text.startswith(QUOTES):
        return False
    rest = text[len(QUOTES) :].rstrip()
    return not rest.endswith(QUOTES)


def inside_block(text: str) -> str:
    """Return the text between the quotes, without the line ends next to them."""
    inner = text.removeprefix(QUOTES)
    closed = inner.rstrip()
    if closed.endswith(QUOTES):
        inner = closed.removesuffix(QUOTES).removesuffix("\n")
    return inner.removeprefix("\n")


def literal(text: str) -> str:
    """Return what to type so that exactly `text` is sent."""
    typed = (text, f"/{text}", f"{QUOTES}\n{text}\n{QUOTES}")
    return next((way for way in typed if understand(way) == Say(text)), text)


class Lines:
    """Read stdin line by line: a pipe, or a terminal without escape sequences.

    If `interactive`, each line has a prompt.
    """

    def __init__(self, streams: Streams, interrupts: Interrupts, *, interactive: bool) -> None:
        self.interactive = interactive
        self._streams = streams
        self._interrupts = interrupts
        self._lines = 0

    def read(self, _default: str = "") -> str:
        """Return the next turn. Raise EOFError at the end, and BadInput if it is not UTF-8."""
        text = self._line("> ")
        while in_open_block(text):
            try:
                text = f"{text}\n{self._line('. ')}"
            except EOFError:
                break
        return text

    def confirm(self, question: str) -> bool:
        """Ask a question; return True for yes. In a pipe the answer is no."""
        return self.interactive and self._line(f"{question} [y/N] ").strip() in ("y", "yes")

    def _line(self, prompt: str) -> str:
        if self.interactive:
            self._streams.write(prompt)
        with self._interrupts.welcome():
            line = self._streams.stdin.readline()
        if not line:
            raise EOFError
        self._lines += 1
        text = decode_utf8(line, f"Line {self._lines:,} of stdin")
        return text.removesuffix("\n").removesuffix("\r")
