"""stdin, stdout and stderr: what they are, and what is written to them."""

import io
import os
import select
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, TextIO

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.text import clip, one_line, terminal_safe

_ERASE = "\r\x1b[K"  # what stands in the row of the terminal


@dataclass
class Streams:
    """Hold the three standard streams as bytes, and the properties of each.

    `color` is for stdout: see `wants_color`. `width` is in columns. `utf8` is True if the reader of
    stdout can show more than ASCII.
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
    _status: str = ""  # the line that stands on the terminal's stderr now

    @classmethod
    def standard(cls, color: str = "auto") -> "Streams":
        """Return the process's own streams; `color` is auto, always or never.

        A closed stdin is an empty one, and a closed stderr drops what is written to it. Raise
        TuluError for a closed stdout: there is no point in making an answer.
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
        """Return streams over buffers, for tests: nothing touches the process's own."""
        return cls(io.BytesIO(stdin), io.BytesIO(), io.BytesIO(), tty, tty, tty, color)

    def size(self) -> os.terminal_size:
        """Return the columns and lines of stdout's terminal now: it may be resized at any time."""
        return self._size_of(self.stdout)

    @property
    def talk_width(self) -> int:
        """Return the columns of stderr's terminal now, which need not be that of stdout."""
        return self._size_of(self.stderr).columns

    def _size_of(self, stream: BinaryIO) -> os.terminal_size:
        with suppress(OSError, ValueError):
            size = os.get_terminal_size(stream.fileno())
            if size.columns and size.lines:
                return size
        return os.terminal_size((self.width, 24))

    def write(self, text: str) -> None:
        """Write data to stdout at once: made safe for a terminal, as it is for a pipe.

        Raise BrokenPipeError if nobody reads it, and TuluError if it cannot be written.
        """
        self.write_styled(terminal_safe(text) if self.stdout_tty else text)

    def write_styled(self, text: str) -> None:
        """Write text with escape sequences of our own to stdout; its parts must be safe already."""
        try:
            self.stdout.write(_encode(text))
            self.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise TuluError(f"stdout cannot be written: {error.strerror or error}.") from error

    def say(self, line: str) -> None:
        """Write a line to stderr, always made safe: logs are read in terminals too.

        A status line gives way to it, and follows it. If stderr cannot be written, the line is lost
        and the answer is not.
        """
        status = self._status
        self._talk(f"{_ERASE if status else ''}{terminal_safe(line)}\n{status}")

    def talk(self, text: str, *, faint: bool = False) -> None:
        """Write a text that grows to stderr, made safe as by `say`, without a line end."""
        safe = terminal_safe(text)
        self._talk(f"\x1b[2m{safe}\x1b[m" if faint else safe)

    def show_status(self, text: str) -> None:
        """Write a status line to a terminal's stderr, over the last one; "" removes it.

        It is cut to one row of the terminal as wide as that is now: of a longer one only the last
        row would be written over.
        """
        if self.stderr_tty and os.environ.get("TERM") != "dumb":
            self._status = clip(one_line(text), self.talk_width - 1)
            self._talk(_ERASE + self._status)

    def read(self) -> bytes:
        """Return all of stdin. Raise BadInput if it cannot be read."""
        try:
            return self.stdin.read()
        except OSError as error:
            raise BadInput(f"stdin cannot be read: {error.strerror or error}.") from error

    def _talk(self, text: str) -> None:
        with suppress(OSError):
            self.stderr.write(_encode(text))
            self.stderr.flush()

    def stdin_ready(self, seconds: float) -> bool:
        """Return True if stdin has data or ends within this time: read() will not wait."""
        try:
            descriptor = self.stdin.fileno()
        except (io.UnsupportedOperation, ValueError):
            return True
        return bool(select.select([descriptor], [], [], seconds)[0])


def wants_color(choice: str, tty: bool, environ: dict[str, str]) -> bool:
    """Decide on colour: by `--color`, then NO_COLOR, FORCE_COLOR, TERM=dumb, and then the TTY."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return tty and environ.get("TERM") != "dumb"


def speaks_utf8(environ: Mapping[str, str]) -> bool:
    """Return True if the locale of the environment is UTF-8, or names no character set.

    Python's own answer does not do: in the C locale it takes UTF-8 for files whatever is shown.
    """
    names = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    name = next(filter(None, names), "")
    charset = name.partition(".")[2].partition("@")[0].lower().replace("-", "")
    return charset == "utf8" if charset else name not in ("C", "POSIX")


def _isatty(stream: object) -> bool:
    return stream is not None and bool(getattr(stream, "isatty", lambda: False)())


def _writer(stream: TextIO) -> BinaryIO:
    """Return a buffer of our own over a standard stream: whole writes, also under `python -u`.

    Unlike the interpreter's, it does not retry a failed write, with a traceback, at the end.
    """
    return open(stream.fileno(), "wb", closefd=False)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


Progress = Callable[[str, int, int], None]
"""Called with a stage of long work, the bytes or steps done, and their total: 0 if unknown.

The calls come one at a time, though not always from the thread that asked for the work.
"""


def no_progress(stage: str, done: int, total: int) -> None:
    """Report nothing."""
