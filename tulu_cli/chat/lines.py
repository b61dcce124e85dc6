"""Turns as lines of stdin: one a line, and a block in triple quotes."""

from tulu_cli.chat.interrupts import Interrupts
from tulu_cli.chat.typed import in_open_block
from tulu_cli.prompt import decode_utf8
from tulu_cli.streams import Streams


class Lines:
    """Reads stdin line by line, as it comes: a pipe, or a terminal that knows no escape sequences.

    Where somebody types, `interactive`, each line is asked for.
    """

    def __init__(self, streams: Streams, interrupts: Interrupts, *, interactive: bool) -> None:
        self.interactive = interactive
        self._streams = streams
        self._interrupts = interrupts
        self._lines = 0

    def read(self, _default: str = "") -> str:
        """The next turn. Raises EOFError, and BadInput for a line that is not UTF-8."""
        text = self._line("> ")
        while in_open_block(text):
            try:
                text = f"{text}\n{self._line('. ')}"
            except EOFError:
                break
        return text

    def confirm(self, question: str) -> bool:
        """Whether the answer is yes; in a pipe nobody is there to be asked."""
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
