"""How a long piece of work says how far it has come."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a sentence, the bytes or steps done, and how many there are: 0 where unknown.

The calls come one at a time, though not always from the thread that asked for the work.
"""

Say = Callable[[str], None]
"""Called with a line of talk."""


def no_progress(stage: str, done: int, total: int) -> None:
    """Say nothing."""
