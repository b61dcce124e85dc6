"""One thing that was looked at: whether it is well, and the command that mends it if not."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A note is worth knowing, a problem keeps something from working. `mend` may be a command."""

    level: Level
    about: str
    said: str
    mend: str | None = None
