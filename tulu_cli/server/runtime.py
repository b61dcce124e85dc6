"""Where the sockets and records of warm engines are: a directory that is this user's alone."""

import os
import stat
from pathlib import Path

from tulu_cli.errors import TuluError

# An AF_UNIX path has 108 bytes with its end (unix(7)), and vLLM puts sockets of its own, named by
# a UUID, beside ours.
LONGEST_SOCKET = 107
_LONGEST_NAME = len("/") + 36
_KEY = 8


def runtime_path() -> Path:
    """TULU_RUNTIME_DIR, else a folder in XDG_RUNTIME_DIR, else one in /tmp. It may not exist."""
    if chosen := os.environ.get("TULU_RUNTIME_DIR"):
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    if (given := os.environ.get("XDG_RUNTIME_DIR")) and os.path.isdir(given):
        return Path(given) / "tulu"
    # Not TMPDIR, which may be long.
    return Path("/tmp") / f"tulu-{os.getuid()}"  # noqa: S108 (its owner and mode are checked)


def runtime_directory() -> Path:
    """The same, made if need be. Raises TuluError where it is too long or not this user's alone."""
    path = runtime_path()
    room = LONGEST_SOCKET - _LONGEST_NAME - _KEY - len("/")
    if len(os.fsencode(path)) > room:
        raise TuluError(
            f"{str(path)!r} is too long for sockets in it: set TULU_RUNTIME_DIR to a path of at "
            f"most {room} bytes."
        )
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TuluError(
            f"{str(path)!r} cannot be made ({error.strerror}): set TULU_RUNTIME_DIR to a folder "
            "of yours."
        ) from error
    check_private(path)
    return path


def check_private(path: Path) -> None:
    """Raises TuluError for a directory that someone else owns, or can look into."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise TuluError(
            f"{str(path)!r} is not a directory of yours: remove it, or set TULU_RUNTIME_DIR."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise TuluError(
            f"{str(path)!r} is open to other users: chmod 700 it, or set TULU_RUNTIME_DIR."
        )
