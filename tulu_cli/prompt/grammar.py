"""What a chat template writes between one message and the next, learnt by showing it conversations.

This is enough to read a prompt back into messages, and to know which texts in a message would
read as the beginning of another one.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.control import ControlTexts, is_sign
from tulu_cli.prompt.render import Render

START, END, ASKED = "(start)", "(end)", "(generation prompt)"
ROLES = ("system", "user", "assistant", "tool")
# Short conversations that a template is shown; many refuse some of them.
_ALTERNATING = (
    ("user",),
    ("user", "assistant"),
    ("user", "assistant", "user"),
    ("user", "assistant", "user", "assistant", "user"),
    ("system", "user"),
    ("system", "user", "assistant", "user", "assistant"),
    ("user", "assistant", "tool", "assistant"),
    ("system",),
)
_PAIRS = tuple((one, other) for one in ROLES for other in ROLES)
# No part of any template; each stands for one message.
_CONTENT = "Zq{}jx"
_PLACES = re.compile(r"Zq(\d+)jx")
_SHORTEST_MARKER, _LONGEST_MARKER = 3, 40


@dataclass(frozen=True)
class Grammar:
    """The texts between two messages, by their roles; START, END and ASKED are the ends.

    A pair of roles can have several: many templates write the first turn in another way.
    """

    between: dict[tuple[str, str], tuple[str, ...]]

    def after(self, role: str) -> list[tuple[str, str]]:
        """Each text that can follow a message of a role, and what comes next; longest first."""
        found = [
            (text, after)
            for (before, after), texts in self.between.items()
            if before == role
            for text in texts
        ]
        return sorted(found, key=lambda pair: -len(pair[0]))

    def knows(self, role: str) -> bool:
        """Whether messages of this role are written at all."""
        return any(role in pair for pair in self.between)


def learn(render: Render) -> Grammar:
    """Show the template conversations, and see what stands between the contents."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for roles in (*_ALTERNATING, *_PAIRS):
        for asked in (False, True):
            for pair, text in _seen(render, roles, asked):
                found.setdefault(pair, {})[text] = None
    return Grammar({pair: tuple(texts) for pair, texts in found.items()})


def _seen(
    render: Render, roles: Sequence[str], asked: bool
) -> Iterator[tuple[tuple[str, str], str]]:
    messages = [Message(role, _CONTENT.format(index)) for index, role in enumerate(roles)]
    try:
        parts = _PLACES.split(render(messages, asked=asked))
    except BadInput:
        return  # it refuses such a conversation
    if parts[1::2] != [str(index) for index in range(len(roles))]:
        return  # it drops, repeats or moves a message
    ends = (START, *roles, ASKED if asked else END)
    yield from zip(pairwise(ends), parts[::2], strict=True)


def role_markers(grammar: Grammar, control: ControlTexts) -> tuple[str, ...]:
    """Plain texts by which a template announces a message, as `<|assistant|>` in Tülu 3's.

    Control tokens are not among them: they cannot come from a message.
    """
    found: dict[str, None] = {}
    for (before, after), texts in grammar.between.items():
        if after in (END, START) or (before, after) == (START, ASKED):
            continue
        for text in texts:
            plain = "\n".join(control.split(text)[::2])
            found |= dict.fromkeys(line.strip() for line in plain.split("\n"))
    return tuple(filter(is_marker, found))


def is_marker(text: str) -> bool:
    """Whether a line between messages is one that nobody writes by chance."""
    signs = sum(is_sign(char) for char in text)
    return _SHORTEST_MARKER <= len(text) <= _LONGEST_MARKER and signs > 0
