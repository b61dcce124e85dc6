"""stdin, stdout and stderr: what they are, and what is written to them."""

import io
import os
import select
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, TextIO

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.text import terminal_safe


@dataclass
class Streams:
    """The three standard streams as bytes, with what each one is.

    `color` answers for stdout: a terminal that was not told otherwise by NO_COLOR, TERM=dumb,
    FORCE_COLOR or `--color`. `utf8` says that what reads stdout can show more than ASCII.
    """

    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO
    stdin_tty: bool = False
    stdout_tty: bool = False
    stderr_tty: bool = False
    color: bool = False
    width: int = 80
    utf8: bool = True

    @classmethod
    def standard(cls, color: str = "auto") -> "Streams":
        """The process's own streams; `color` is auto, always or never.

        A closed stdin is an empty one and a closed stderr swallows the talk, but TuluError is
        raised for a closed stdout: there is no point in making an answer.
        """
        if sys.stdout is None:
            raise TuluError("stdout is closed: there is nowhere to write the answer.")
        stdout_tty = _isatty(sys.stdout)
        return cls(
            stdin=sys.stdin.buffer if sys.stdin else io.BytesIO(),
            stdout=_writer(sys.stdout),
            stderr=_writer(sys.stderr) if sys.stderr else io.BytesIO(),
            stdin_tty=_isatty(sys.stdin),
            stdout_tty=stdout_tty,
            stderr_tty=_isatty(sys.stderr),
            color=wants_color(color, stdout_tty, dict(os.environ)),
            width=shutil.get_terminal_size().columns,
            utf8=speaks_utf8(os.environ),
        )

    @classmethod
    def test(cls, stdin: bytes = b"", *, tty: bool = False, color: bool = False) -> "Streams":
        """Streams over buffers, for tests: nothing touches the process's own."""
        return cls(io.BytesIO(stdin), io.BytesIO(), io.BytesIO(), tty, tty, tty, color)

    def size(self) -> os.terminal_size:
        """Columns and lines of stdout's terminal as they are now: it may be resized any time."""
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(self.stdout.fileno())
            if size.columns and size.lines:
                return size
        return os.terminal_size((self.width, 24))

    def write(self, text: str) -> None:
        """Data for stdout, at once. A terminal gets it made safe, a pipe gets it as it is.

        Raises BrokenPipeError where nobody reads it, and TuluError where it cannot be written.
        """
        self.write_styled(terminal_safe(text) if self.stdout_tty else text)

    def write_styled(self, text: str) -> None:
        """Text of our own making for stdout, escape sequences included: only from safe parts."""
        try:
            self.stdout.write(_encode(text))
            self.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TuluError(f"stdout cannot be written: {error.strerror or error}.") from error

    def say(self, line: str) -> None:
        """One line of talk for stderr, always made safe: logs are read in terminals too.

        A stderr that takes no more costs the talk and not the answer.
        """
        self._talk(terminal_safe(line) + "\n")

    def show_status(self, text: str) -> None:
        """A line on a terminal's stderr, in the place of the one before; an empty one ends it."""
        if self.stderr_tty and os.environ.get("TERM") != "dumb":
            self._talk("\r\x1b[K" + terminal_safe(text).replace("\n", " ")[: self.width - 1])

    def read(self) -> bytes:
        """All of stdin. Raises BadInput where it cannot be read."""
        try:
            return self.stdin.read()
        except OSError as error:
            raise BadInput(f"stdin cannot be read: {error.strerror or error}.") from error

    def _talk(self, text: str) -> None:
        with suppress(OSError):
            self.stderr.write(_encode(text))
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


def speaks_utf8(environ: Mapping[str, str]) -> bool:
    """Whether the locale of the environment is UTF-8; one that names no character set may be.

    Python's own answer does not do: in the C locale it takes UTF-8 for files whatever is shown.
    """
    names = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    name = next(filter(None, names), "")
    charset = name.partition(".")[2].partition("@")[0].lower().replace("-", "")
    return charset == "utf8" if charset else name not in ("C", "POSIX")


def _isatty(stream: object) -> bool:
    return stream is not None and bool(getattr(stream, "isatty", lambda: False)())


def _writer(stream: TextIO) -> BinaryIO:
    """A buffer of our own over a standard stream: whole writes, also under `python -u`.

    What it could not write is not tried once more, with a complaint, when the interpreter ends.
    """
    return open(stream.fileno(), "wb", closefd=False)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")
