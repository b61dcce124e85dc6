"""The user's turn, put together from an instruction, files and piped data."""

import re
from collections.abc import Sequence


def compose_user_text(
    instruction: str | None, data: str | None, files: Sequence[tuple[str, str]] = ()
) -> str:
    """Return the instruction, each file (name, text) in a fenced block, and the data, in order.

    A blank line stands between the parts. The data is never changed: with nothing else given,
    it is the whole text.
    """
    parts = [instruction] if instruction else []
    parts += [fenced(name, text) for name, text in files]
    parts += [data] if data is not None else []
    return "\n\n".join(parts)


def fenced(name: str, text: str) -> str:
    """Return a file under its name, between fences longer than any run of backticks in it."""
    runs = re.findall("`+", text)
    fence = "`" * max(3, 1 + max(map(len, runs), default=0))
    # The closing fence must begin a line: the one line end that is ever added.
    line_end = "" if text.endswith("\n") or not text else "\n"
    return f"{printable(name)}\n{fence}\n{text}{line_end}{fence}"


def printable(name: str) -> str:
    """Return the name on one line: a line end in it could fake another part."""
    return "".join(char if char.isprintable() else "\ufffd" for char in name)
