"""Which control tokens of a prompt its template wrote, and which a conversation only spells.

A conversation that may spell one is rendered with traces (see `tracing`), which tell them apart.
Nearly all spell none, and are rendered without.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any

from tulu_cli.prompt.tracing import plain, spans_of


class ControlTexts:
    """The texts of the control tokens, which must not arise from a user's text."""

    def __init__(self, texts: Collection[str]) -> None:
        self.texts = tuple(sorted(filter(None, texts), key=len, reverse=True))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Return a pattern of the longest text at each place, as in the tokenizers library."""
        return re.compile(f"({any_of(self.texts).pattern})")

    def split(self, text: str) -> list[str]:
        """Return plain texts at even positions, the control tokens between them at odd ones."""
        return self.pattern.split(text)

    @cached_property
    def heads(self) -> frozenset[str]:
        """Return the proper beginnings of the texts."""
        return frozenset(text[:end] for text in self.texts for end in range(1, len(text)))

    @cached_property
    def tails(self) -> frozenset[str]:
        """Return the proper ends of the texts."""
        return frozenset(text[start:] for text in self.texts for start in range(1, len(text)))

    @cached_property
    def marks(self) -> str:
        """Return a few characters, no letters if possible, of which each text has at least one."""
        chosen: list[str] = []
        left = [set(text) for text in self.texts]
        while left:
            count = Counter(char for characters in left for char in characters)
            best = max(count, key=lambda char: (is_sign(char), count[char], char))
            chosen.append(best)
            left = [characters for characters in left if best not in characters]
        return "".join(chosen)

    def open_at_end(self, text: str) -> bool:
        """Return True if `text` ends with the beginning of a control token."""
        window = text[-self._longest :]
        return any(window[at.start() :] in self.heads for at in self._firsts.finditer(window))

    def open_at_start(self, text: str) -> bool:
        """Return True if `text` begins with the end of a control token."""
        window = text[: self._longest]
        return any(window[: at.end()] in self.tails for at in self._lasts.finditer(window))

    def is_inside(self, text: str) -> bool:
        """Return True if `text` is a part of a control token, be it of its middle."""
        return 0 < len(text) <= self._longest and text in self.joined

    def touches(self, text: str) -> bool:
        """Return True if a control token stands in `text`, or could arise at its edges."""
        core = text.strip()
        return (
            self.pattern.search(text) is not None
            or self.open_at_start(core)
            or self.open_at_end(core)
            or self.is_inside(core)
        )

    def may_arise_from(self, texts: Iterable[str], *, cut: bool) -> bool:
        """Return True if a template could make a control token with one of the texts in it.

        That is a text which touches one, or has a sign of one if the template may `cut` it.
        """
        marks = self.marks if cut else ""
        for text in texts:
            for mark in marks:
                if mark in text:
                    return True
            for char in self._ends:
                if char in text:
                    break
            else:
                if len(text) > self._longest:
                    continue  # as most texts
            if self.touches(text):
                return True
        return False

    @cached_property
    def joined(self) -> str:
        """Return all texts in one, to search them at once."""
        return "\0".join(self.texts)

    @cached_property
    def _ends(self) -> frozenset[str]:
        return frozenset(char for text in self.texts for char in (text[0], text[-1]))

    @cached_property
    def _firsts(self) -> re.Pattern[str]:
        return any_of(text[0] for text in self.texts)

    @cached_property
    def _lasts(self) -> re.Pattern[str]:
        return any_of(text[-1] for text in self.texts)

    @cached_property
    def _longest(self) -> int:
        return len(self.texts[0]) if self.texts else 1


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds each of the texts; of those that begin alike, the first."""
    return re.compile("|".join(map(re.escape, dict.fromkeys(texts))) or "(?!)")


def is_sign(char: str) -> bool:
    """Return True if `char` is neither a letter, a digit nor white space."""
    return not char.isalnum() and not char.isspace()


def texts_in(values: Iterable[Any]) -> set[str]:
    """Return every text in JSON-like values, the keys of objects included."""
    found: set[str] = set()
    collect_texts(values, found)
    return found


def collect_texts(values: Iterable[Any], found: set[str]) -> None:
    """Add every text in JSON-like values to `found`, the keys of objects included."""
    for value in values:
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, (list, tuple)):
            collect_texts(value, found)
        elif isinstance(value, (dict, Mapping)):  # a dict is known quickly
            collect_texts(value, found)
            collect_texts(value.values(), found)


ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


def pieces_of(text: str, control: ControlTexts) -> list[str]:
    """Return the plain texts of a prompt with the control tokens of its template between them.

    A control token of which any character came from the conversation is plain text. `text` is a
    traced one, or one of which it is known that no control token came from the conversation.
    """
    if type(text) is str:
        return control.split(text)
    pieces = [""]
    place = 0
    for start, end, _ in (*spans_of(text), (len(text), len(text), None)):
        first, *others = control.split(plain(text)[place:start])
        pieces[-1] += first
        pieces += others
        pieces[-1] += plain(text)[start:end]
        place = end
    return pieces
