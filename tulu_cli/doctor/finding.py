"""A finding of the doctor: how bad it is, a sentence, and the command that fixes it."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. A note is worth knowing; a problem keeps something from working.

    `about` is the subject ("gpu 0"), `said` the sentence, `mend` the command that fixes it.
    """

    level: Level
    about: str
    said: str
    mend: str | None = None
