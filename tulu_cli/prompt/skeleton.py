"""Prompts by filling in: what a template writes around the contents, kept for each order of roles.

Only for templates that copy contents without looking at them (`opaque.copies_content`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tulu_cli.core import Message
from tulu_cli.prompt.render import Render

# White space around a stand-in, which is gone where a template strips a content.
LEFT, RIGHT = "\u2003", "\u2002"
FIRST = 0xF0000
SLOT = re.compile(f"({LEFT}?)([\U000f0000-\U000ffffd])({RIGHT}?)")
MOST_MESSAGES = 0xFFFE


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Literals with the contents between them: `slots` are (message, kept left, kept right)."""

    literals: tuple[str, ...]
    slots: tuple[tuple[int, bool, bool], ...]

    @property
    def in_order(self) -> bool:
        """Whether the slots are just all the messages, none stripped."""
        return all(slot == (index, True, True) for index, slot in enumerate(self.slots))

    def fill(self, contents: Sequence[str]) -> list[str]:
        """Literals and contents in turn."""
        parts = [""] * (len(self.literals) + len(self.slots))
        parts[::2] = self.literals
        parts[1::2] = [stripped(contents[at], left, right) for at, left, right in self.slots]
        return parts


def stripped(content: str, keep_left: bool, keep_right: bool) -> str:
    """The content without the white space that a template takes off."""
    content = content if keep_left else content.lstrip()
    return content if keep_right else content.rstrip()


class Skeletons:
    """The skeletons of one template with one set of variables, made by `render` when needed."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._made = lru_cache(maxsize=1024)(self._make)

    def fill(self, roles: tuple[str, ...], contents: Sequence[str], *, asked: bool) -> str | None:
        """The prompt, None where it has to be rendered: roles could be taken for stand-ins.

        Raises what `render` raises, about a conversation of stand-ins.
        """
        made = self._made(roles, asked)
        if made is None:
            return None
        skeleton, in_order = made
        if not in_order:
            return "".join(skeleton.fill(contents))
        parts = [""] * (2 * len(contents) + 1)
        parts[::2], parts[1::2] = skeleton.literals, contents
        return "".join(parts)

    def _make(self, roles: tuple[str, ...], asked: bool) -> tuple[Skeleton, bool] | None:
        if len(roles) > MOST_MESSAGES or has_stand_ins(roles):
            return None
        messages = [
            Message(role, f"{LEFT}{chr(FIRST + index)}{RIGHT}") for index, role in enumerate(roles)
        ]
        skeleton = read(self._render(messages, asked=asked))
        return skeleton, skeleton.in_order and len(skeleton.slots) == len(roles)


def read(text: str) -> Skeleton:
    """The skeleton that a conversation of stand-ins was rendered to."""
    parts = SLOT.split(text)
    slots = zip(parts[1::4], parts[2::4], parts[3::4], strict=True)
    return Skeleton(
        literals=tuple(parts[::4]),
        slots=tuple((ord(mark) - FIRST, bool(left), bool(right)) for left, mark, right in slots),
    )


def has_stand_ins(texts: Iterable[str]) -> bool:
    """Whether any text has a character that stand-ins are made of."""
    return any(LEFT in text or RIGHT in text or SLOT.search(text) for text in texts)
