"""Stand-ins that keep a user's text from becoming control tokens inside a template.

A stand-in is one private-use character that occurs in no input. While the template runs it is
opaque: what then reads as a control token was written by the template. A template that looks for
a control token in a message does not find it there; that is the price.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

from tulu_cli.errors import BadInput


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


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON-like value, the keys of objects included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def map_texts(value: Any, change: Callable[[str], str], change_key: Callable[[str], str]) -> Any:
    """A copy of a JSON-like value with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {
            map_texts(key, change_key, change_key): map_texts(item, change, change_key)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [map_texts(item, change, change_key) for item in value]
    return value


PRIVATE = range(0xF0000, 0x10FFFE)  # planes 15 and 16
PRIVATE_PATTERN = re.compile(f"[{chr(PRIVATE[0])}-{chr(PRIVATE[-1])}]")
ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


def private_characters(*inputs: Any) -> Iterator[str]:
    """Private-use characters that no text in `inputs` has; raises BadInput when they run out."""
    odd = (text for text in texts_in(inputs) if not text.isascii())
    used = {char for text in odd for char in PRIVATE_PATTERN.findall(text)}
    yield from (chr(code) for code in PRIVATE if chr(code) not in used)
    raise BadInput("The conversation uses up the private-use characters of Unicode.")


class Shield:
    """Puts stand-ins into what comes from the user, and takes them out of what was rendered."""

    def __init__(self, control: ControlTexts, source: str, free: Iterator[str]) -> None:
        self._control = control
        self._source = source
        self._free = free
        self._stand_ins: dict[str, str] = {}
        self._guard = next(free)
        self._marks = str.maketrans({char: self._stand_in(char) for char in control.marks})

    def hide(self, value: Any) -> Any:
        """Hide control tokens, and keep halves of them from joining with a neighbour."""
        return map_texts(value, self._hide_in_value, self._hide_in_text)

    def hide_marks(self, value: Any) -> Any:
        """Hide one character of every possible control token, wherever it stands.

        Stronger than `hide`: no cutting and joining inside a template makes a control token of
        it. But templates also look for such characters (`<` of `</think>`).
        """
        return map_texts(value, self._hide_marks_in_value, self._hide_in_text)

    def restore(self, text: str) -> str:
        """The text with every stand-in as the plain text that it stands for."""
        back = {ord(char): text for text, char in self._stand_ins.items()}
        return text.translate(back | {ord(self._guard): None})

    def _stand_in(self, text: str) -> str:
        if text not in self._stand_ins:
            self._stand_ins[text] = next(self._free)
        return self._stand_ins[text]

    def _hide_in_text(self, text: str) -> str:
        return self._control.pattern.sub(lambda match: self._stand_in(match.group()), text)

    def _hide_in_value(self, text: str) -> str:
        return self._hide_in_text(self._guarded(text))

    def _hide_marks_in_value(self, text: str) -> str:
        return self._guarded(text).translate(self._marks)

    def _guarded(self, text: str) -> str:
        """The text with guards at the edges that could complete a control token.

        They stand inside the white space around it, so that a template can strip that. A word
        that the template itself knows is left alone: it may compare it, or build a control token
        of its own with it (`'<|' + role + '|>'`).
        """
        core = text.strip()
        inside = self._control.is_inside(core)
        before = self._guard if inside or self._control.open_at_start(core) else ""
        after = self._guard if inside or self._control.open_at_end(core) else ""
        if not (before or after) or self._is_known(core):
            return text
        return text.replace(core, before + core + after, 1)

    def _is_known(self, word: str) -> bool:
        quoted = f"'{word}'" in self._source or f'"{word}"' in self._source
        return word in ROLES or (quoted and not set(word) & set(self._control.marks))

    def pieces(self, render: Callable[[Any], str], data: Any) -> list[str]:
        """What `render` makes of `data`: plain texts with the template's control tokens between.

        Where a template cuts and joins what it is given, `hide` is not enough: the conversation
        is rendered again with `hide_marks`, and if that gives other control tokens, it counts.
        """
        hidden = self.hide(data)
        try:
            pieces = self._control.split(render(hidden))
        except BadInput as error:  # it may quote a message
            raise BadInput(self.restore(str(error))) from error
        marked = self.hide_marks(data)
        if marked != hidden:
            pieces = self._safer(pieces, render, marked)
        return [self.restore(piece) for piece in pieces]

    def _safer(self, pieces: list[str], render: Callable[[Any], str], marked: Any) -> list[str]:
        try:
            others = self._control.split(render(marked))
        except BadInput:
            return pieces  # the template needs to see a mark, as in `</think>`
        same_text = self.restore("".join(others)) == self.restore("".join(pieces))
        return others if same_text or others[1::2] != pieces[1::2] else pieces
