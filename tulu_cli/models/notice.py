"""The card's licence and limits, shown once before a Tülu 3 model is downloaded."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from textwrap import wrap

from tulu_cli.disk import make_private
from tulu_cli.models.card import card

_WIDTH = 79


def is_due() -> bool:
    """Return True if this user has not seen the notice yet."""
    return not os.path.exists(_marker())


def show(say: Callable[[str], None]) -> None:
    """Say the notice line by line, and remember that if the disk allows it."""
    for line in lines():
        say(line)
    # A home that cannot be written costs the memory of it, not the download.
    with suppress(OSError):
        marker = _marker()
        make_private(marker.parent)
        marker.touch(mode=0o600)


def lines() -> list[str]:
    """Return the licence and the limits in the card's own words, for 80 columns."""
    says = [*card().license_and_use, card().limits]
    head = "tulu: Licence and limits of the Tülu 3 models, as their card states them:"
    end = f"The licence: {card().links[card().license]}. `tulu models show 8b` has all of it."
    paragraphs = [_indented(text) for text in (*says, end)]
    return [head, *(line for paragraph in paragraphs for line in paragraph)]


def _indented(text: str) -> list[str]:
    return wrap(text, _WIDTH, initial_indent="  * ", subsequent_indent="    ")


def _marker() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_dir("tulu")) / "tulu-3-licence-shown"
