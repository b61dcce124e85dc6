"""The texts of a tokenizer's control tokens, and how to find them and their halves."""

import re
from collections import Counter
from collections.abc import Collection
from functools import cached_property


class ControlTexts:
    """What must not arise from a user's text: the texts of the control tokens."""

    def __init__(self, texts: Collection[str]) -> None:
        self.texts = tuple(sorted(texts, key=len, reverse=True))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds each text, the longest where several begin: as the tokenizers library does."""
        return re.compile(f"({'|'.join(map(re.escape, self.texts)) or '(?!)'})")

    def split(self, text: str) -> list[str]:
        """Plain texts at even positions, the control tokens between them at odd ones."""
        return self.pattern.split(text)

    @cached_property
    def heads(self) -> frozenset[str]:
        """The proper beginnings of the texts."""
        return frozenset(text[:end] for text in self.texts for end in range(1, len(text)))

    @cached_property
    def tails(self) -> frozenset[str]:
        """The proper ends of the texts."""
        return frozenset(text[start:] for text in self.texts for start in range(1, len(text)))

    @cached_property
    def marks(self) -> str:
        """Characters of which each text has at least one: few, and no letters if possible."""
        chosen: list[str] = []
        left = [set(text) for text in self.texts]
        while left:
            count = Counter(char for characters in left for char in characters)
            best = max(count, key=lambda char: (is_sign(char), count[char], char))
            chosen.append(best)
            left = [characters for characters in left if best not in characters]
        return "".join(chosen)

    def open_at_end(self, text: str) -> bool:
        """True where `text` ends with the beginning of a control token."""
        if text[-1:] not in self._inner:  # most texts end so: this is quick
            return False
        return any(text[-size:] in self.heads for size in self._sizes(text))

    def open_at_start(self, text: str) -> bool:
        """True where `text` begins with the end of a control token."""
        if text[:1] not in self._inner:
            return False
        return any(text[:size] in self.tails for size in self._sizes(text))

    def is_inside(self, text: str) -> bool:
        """True where `text` is a part of a control token, also of its middle."""
        return 0 < len(text) <= self._longest and text in self.joined

    @cached_property
    def joined(self) -> str:
        """All texts in one, for looking through them at once."""
        return "\0".join(self.texts)

    @cached_property
    def _inner(self) -> frozenset[str]:
        """All characters of the texts."""
        return frozenset("".join(self.texts))

    @cached_property
    def _longest(self) -> int:
        return len(self.texts[0]) if self.texts else 1

    def _sizes(self, text: str) -> range:
        return range(1, min(self._longest, len(text) + 1))


def is_sign(char: str) -> bool:
    """True for what is neither a letter, a digit nor white space."""
    return not char.isalnum() and not char.isspace()
