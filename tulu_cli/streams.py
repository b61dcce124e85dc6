"""stdin, stdout and stderr: what they are, and how text from outside reaches a terminal safely."""

import io
import os
import select
import shutil
import sys
from dataclasses import dataclass
from typing import BinaryIO

_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_VISIBLE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **{code: f"<{code:02X}>" for code in range(0x80, 0xA0)},
    **{code: f"<U+{code:04X}>" for code in _BIDI},
}


def terminal_safe(text: str) -> str:
    """Text with every character that could command a terminal made visible.

    C0 controls but newline and tab, DEL, C1 controls and the bidirectional overrides are replaced
    one by one, so a sequence that is split across chunks is as harmless as a whole one: what is
    left of it is printable text.
    """
    return text.translate(_VISIBLE)


@dataclass
class Streams:
    """The three standard streams as bytes, with what each one is.

    `color` answers for stdout: a terminal that was not told otherwise by NO_COLOR, TERM=dumb,
    FORCE_COLOR or `--color`.
    """

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO
    stdin_tty: bool = False
    stdout_tty: bool = False
    stderr_tty: bool = False
    color: bool = False
    width: int = 80

    @classmethod
    def standard(cls, color: str = "auto") -> "Streams":
        """The process's own streams; `color` is auto, always or never."""
        stdout_tty = _isatty(sys.stdout)
        return cls(
            stdin=sys.stdin.buffer if sys.stdin else io.BytesIO(),
            stdout=sys.stdout.buffer,
            stderr=sys.stderr.buffer,
            stdin_tty=_isatty(sys.stdin),
            stdout_tty=stdout_tty,
            stderr_tty=_isatty(sys.stderr),
            color=wants_color(color, stdout_tty, dict(os.environ)),
            width=shutil.get_terminal_size().columns,
        )

    @classmethod
    def test(cls, stdin: bytes = b"", *, tty: bool = False, color: bool = False) -> "Streams":
        """Streams over buffers, for tests: nothing touches the process's own."""
        return cls(io.BytesIO(stdin), io.BytesIO(), io.BytesIO(), tty, tty, tty, color)

    def write(self, text: str) -> None:
        """Data for stdout, at once. A terminal gets it made safe, a pipe gets it as it is."""
        self.stdout.write(_encode(terminal_safe(text) if self.stdout_tty else text))
        self.stdout.flush()

    def write_styled(self, text: str) -> None:
        """Text of our own making for stdout, escape sequences included: only from safe parts."""
        self.stdout.write(_encode(text))
        self.stdout.flush()

    def say(self, line: str) -> None:
        """One line of talk for stderr, always made safe: logs are read in terminals too."""
        self.stderr.write(_encode(terminal_safe(line) + "\n"))
        self.stderr.flush()

    def stdin_ready(self, seconds: float) -> bool:
        """Whether stdin has data, or has ended, within so many seconds: read() will not idle."""
        try:
            descriptor = self.stdin.fileno()
        except (io.UnsupportedOperation, ValueError):
            return True
        return bool(select.select([descriptor], [], [], seconds)[0])


def wants_color(choice: str, tty: bool, environ: dict[str, str]) -> bool:
    """Whether to colour: `--color` first, then NO_COLOR, FORCE_COLOR, TERM=dumb, then the TTY."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return tty and environ.get("TERM") != "dumb"


def _isatty(stream: object) -> bool:
    return stream is not None and bool(getattr(stream, "isatty", lambda: False)())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")
