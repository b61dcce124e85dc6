"""The switch of the Hugging Face libraries, off while an engine loads."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_VARIABLE = "HF_HUB_OFFLINE"


@contextmanager
def hub_switched_off() -> Iterator[None]:
    """No library opens a socket in here: every file is on this machine already.

    It holds for worker processes that are started in here too. Afterwards everything is as it
    was, so that this process can still fetch another model.
    """
    before = os.environ.get(_VARIABLE)
    known = _constants().HF_HUB_OFFLINE if _constants() else None
    os.environ[_VARIABLE] = "1"
    _tell_the_library(offline=True)
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE)
        if before is not None:
            os.environ[_VARIABLE] = before
        _tell_the_library(offline=_asked_for() if known is None else known)


def _constants() -> Any:
    """Where the library keeps what it read of the environment, if it is imported already."""
    return sys.modules.get("huggingface_hub.constants")


def _tell_the_library(*, offline: bool) -> None:
    if constants := _constants():
        constants.HF_HUB_OFFLINE = offline


def _asked_for() -> bool:
    """What the library would read now, by its own rule."""
    told = os.environ.get(_VARIABLE) or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return told.upper() in ("1", "ON", "YES", "TRUE")
