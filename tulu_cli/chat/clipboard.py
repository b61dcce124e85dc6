"""The clipboard: the system's own where there is one, else the terminal's, by OSC 52."""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from tulu_cli.errors import TuluError
from tulu_cli.streams import Streams

# xterm's limit for an OSC 52 is not documented; this is what hterm and tmux take, in bytes.
_MOST_BYTES = 74_994
_SECONDS = 5


def copy(streams: Streams, text: str) -> str:
    """Put a text on the clipboard, and return how. Raise TuluError if there is none."""
    command = system_command(os.environ)
    if command is not None and _given_to(command, text):
        return f"with {command[0]}"
    if not streams.stdout_tty:
        raise TuluError("There is no clipboard here: /save FILE keeps the conversation.")
    encoded = base64.b64encode(text.encode())
    if len(encoded) > _MOST_BYTES:
        raise TuluError("The text is too long for the terminal's clipboard: /save FILE keeps it.")
    streams.write_styled(f"\x1b]52;c;{encoded.decode()}\x07")
    return "to the terminal's clipboard"


def system_command(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the command that fills the clipboard of this desktop, if there is one."""
    candidates: list[tuple[str, ...]] = []
    if sys.platform == "darwin":
        candidates.append(("pbcopy",))
    if environ.get("WAYLAND_DISPLAY"):
        candidates.append(("wl-copy",))
    if environ.get("DISPLAY"):
        candidates += [("xclip", "-selection", "clipboard"), ("xsel", "-ib")]
    return next((command for command in candidates if shutil.which(command[0])), None)


def _given_to(command: tuple[str, ...], text: str) -> bool:
    # xclip stays alive to serve what it holds, so that its output must not be waited for.
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
