"""The turns of a chat that is no terminal: one a line, and a block in triple quotes."""

from tulu_cli.chat.interrupts import Interrupts
from tulu_cli.chat.typed import in_open_block
from tulu_cli.prompt import decode_utf8
from tulu_cli.streams import Streams


class PipedLines:
    """Reads stdin line by line, as it comes."""

    interactive = False

    def __init__(self, streams: Streams, interrupts: Interrupts) -> None:
        self._stdin = streams.stdin
        self._interrupts = interrupts
        self._lines = 0

    def read(self, _default: str = "") -> str:
        """The next turn. Raises EOFError, and BadInput for a line that is not UTF-8."""
        text = self._line()
        while in_open_block(text):
            try:
                text = f"{text}\n{self._line()}"
            except EOFError:
                break
        return text

    def confirm(self, _question: str) -> bool:
        """Nobody is there to be asked."""
        return False

    def _line(self) -> str:
        with self._interrupts.welcome():
            line = self._stdin.readline()
        if not line:
            raise EOFError
        self._lines += 1
        text = decode_utf8(line, f"Line {self._lines:,} of stdin")
        return text.removesuffix("\n").removesuffix("\r")
