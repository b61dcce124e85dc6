r"""What the fake engine can be told to do, by a line of the prompt, the last one counting.

fake: say TEXT      the answer is TEXT, \n in it being a line end
fake: words N       the answer is N numbered words
fake: wait SECONDS  nothing happens for so long, then the answer is "waited"
fake: fail N        the first time it fails after N tokens, then N words and "recovered"
fake: die N         the same, but the engine is gone then
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tulu_cli.errors import EngineDied, EngineError

_LINE = re.compile(r"fake: (say|words|wait|fail|die) ?(.*)")


@dataclass(frozen=True, slots=True)
class Directive:
    """A verb with what follows it."""

    verb: str
    argument: str

    def text(self) -> str:
        """The answer."""
        if self.verb == "say":
            return self.argument.replace("\\n", "\n")
        if self.verb == "wait":
            return "waited"
        words = [f"w{number}" for number in range(1, int(self.argument or 0) + 1)]
        return " ".join(words if self.verb == "words" else [*words, "recovered"])

    def prefill(self) -> Iterator[None]:
        """The time before the first token, in steps in which a cancel can land."""
        if self.verb == "wait":
            end = time.monotonic() + float(self.argument)
            while time.monotonic() < end:
                time.sleep(0.005)
                yield

    def failure(self, tokens: int) -> EngineError | None:
        """The error that comes after so many tokens, if one does."""
        if self.verb not in ("fail", "die") or tokens < int(self.argument or 0):
            return None
        if self.verb == "die":
            return EngineDied("The fake engine died, as it was told to.")
        return EngineError("The fake engine failed, as it was told to.")


def directive(prompt: str) -> Directive | None:
    """The last directive in a prompt's text."""
    found = _LINE.findall(prompt)
    return Directive(*found[-1]) if found else None
