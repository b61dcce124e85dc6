"""What a chat template writes between one message and the next, learnt by showing it conversations.

This is enough to read a prompt back into messages, and to know which texts in a message would
read as the beginning of another one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, takewhile
from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.limits import on_one_budget
from tulu_cli.prompt.render import Render, render_template
from tulu_cli.prompt.spoofing import ControlTexts, is_sign

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
# What reads as one sign of a template: a control token, or a word between brackets.
SIGN = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
_THOUGHT = re.compile("think|thought|reason", re.IGNORECASE)
_TAG = r"<[^<>\s]*(?:think|thought|reason)[^<>\s]*>|\[[^\[\]\s]*think[^\[\]\s]*\]"
_TAG += r"|<\|channel>thought|<channel\|>"
_THOUGHTS = re.compile(rf"^(?:\s*(?:{_TAG}))+|(?:\s*(?:{_TAG}))+$", re.IGNORECASE)
_BRACKETED = re.compile(r"<[^\s<>][^<>]*>|\[[^\s\[\]][^\[\]]*\]")
# What is left of a name in brackets where the texts that begin, or end, alike were cut in it.
_CUT_AT_START = re.compile(r"^[^<\[]*?[>\]](?=[<\[])")
_CUT_AT_END = re.compile(r"<[^<>]*$")
_NAMES = "user|assistant|system|developer|tool|function|human|model|bot|gpt|ai"
_ROLE_AND_SIGN = re.compile(rf"\W*(?:{_NAMES})\s*[^\w\s.,;!?]+\s*", re.IGNORECASE)
_COMMON = frozenset("\"'`({-*+>.,;:!?\u2022")


@dataclass(frozen=True)
class Grammar:
    """The texts between two messages, by their roles; START, END and ASKED are the ends.

    A pair of roles can have several: many templates write the first turn in another way.
    """

    between: dict[tuple[str, str], tuple[str, ...]]

    @property
    def marks_turns(self) -> bool:
        """Return True if anything but white space stands between some turn and the next."""
        inner = (texts for pair, texts in self.between.items() if {*pair} <= {*ROLES, ASKED})
        return any(text.strip() for texts in inner for text in texts)

    @cached_property
    def signs(self) -> frozenset[str]:
        """Return the signs that the template writes between messages, but for those of thoughts."""
        texts = (text for texts in self.between.values() for text in texts)
        return frozenset(sign for text in texts for sign in signs_in(text))

    def after(self, role: str) -> list[tuple[str, str]]:
        """Return each text that can follow a role, longest first, with the role that comes next."""
        found = [
            (text, after)
            for (before, after), texts in self.between.items()
            if before == role
            for text in texts
        ]
        return sorted(found, key=lambda pair: -len(pair[0]))

    def knows(self, role: str) -> bool:
        """Return True if messages of this role are written at all."""
        return any(role in pair for pair in self.between)


def signs_in(text: str) -> Iterator[str]:
    """Yield what reads as one sign of a template, but for those around thoughts.

    That is a control token, or a word between brackets. Thoughts are a part of an answer's content.
    """
    for found in SIGN.finditer(text):
        if not _THOUGHT.search(found.group()):
            yield found.group()


@on_one_budget
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
    """Return the plain texts that a template writes directly before or after a role's contents.

    Control tokens are not among them: they cannot come from a message. Neither is what announces
    no turn: a system message of the template's own, tags of thoughts, code fences.
    """
    headers: dict[str, dict[str, None]] = {}
    for role in (*ROLES, ASKED):
        texts = [
            control.split(text)[-1]
            for (before, after), several in grammar.between.items()
            if after == role and (before, after) != (START, ASKED)
            for text in several
        ]
        found = headers.setdefault("assistant" if role == ASKED else role, {})
        shared = common_beginning([text.rstrip()[::-1] for text in texts])[::-1]
        shared = _CUT_AT_START.sub("", shared)
        found |= dict.fromkeys(_nearest([shared]) or _nearest(texts))
    both = headers["user"].keys() & headers["assistant"].keys()
    announcing = [text for found in headers.values() for text in found if text not in both]
    closing: list[str] = []
    for role in ROLES:
        texts = [control.split(text)[0] for text, _ in grammar.after(role)]
        shared = _CUT_AT_END.sub("", common_beginning([text.lstrip() for text in texts]))
        first = [text.lstrip(" ").partition("\n")[0] for text in texts]
        closing += _nearest([shared.partition("\n")[0]]) or _nearest(first)
    return tuple(dict.fromkeys((*announcing, *closing)))


def _nearest(texts: Sequence[str]) -> list[str]:
    """Return of each text the last line that is a marker, without tags of thoughts around it."""
    lines = [[without_thoughts(line) for line in text.split("\n")] for text in texts]
    found = [next(filter(is_marker, reversed(each)), "") for each in lines]
    return [marker for marker in dict.fromkeys(found) if marker]


def common_beginning(texts: Sequence[str]) -> str:
    """Return the longest text that all of these begin with."""
    first, last = min(texts, default=""), max(texts, default="")
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return first[: sum(1 for _ in same)]


def without_thoughts(text: str) -> str:
    """Return a text without white space and tags of thoughts at its ends."""
    return _THOUGHTS.sub("", text.strip()).strip()


def is_marker(text: str) -> bool:
    """Return True if this line has the form of what announces a turn, or ends one.

    It holds a name in brackets, begins with a sign, or is the name of a role and a sign. A fence, a
    quotation and a list are written by people and by JSON too.
    """
    if not _SHORTEST_MARKER <= len(text) <= _LONGEST_MARKER:
        return False
    if _BRACKETED.search(text) or _ROLE_AND_SIGN.fullmatch(text):
        return True
    return is_sign(text[0]) and text[0] not in _COMMON and any(map(str.isalnum, text))


def find_markers(messages: Sequence[Message], markers: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield each message's number with each marker that its content holds."""
    for index, message in enumerate(messages):
        yield from ((index, marker) for marker in markers if marker in message.content)


def refuse_markers(
    messages: Sequence[Message], source: str, trusted: Mapping[str, Any], control: ControlTexts
) -> None:
    """Raise BadInput where a content holds a role marker or a control token of the template."""
    named = tuple(sorted((name, text) for name, text in trusted.items() if isinstance(text, str)))
    markers = markers_of(source, named, control)
    for index, marker in find_markers(messages, markers):
        raise BadInput(
            f"messages[{index}].content holds {marker!r}, which begins or ends a turn in this "
            "chat template, and --strict-roles is on: remove it from the message."
        )


@lru_cache(maxsize=16)
def markers_of(
    source: str, named: tuple[tuple[str, str], ...], control: ControlTexts
) -> tuple[str, ...]:
    """Return the role markers of a template, and the control tokens that it writes."""
    grammar = learn_source(source, dict(named))
    written = [text for texts in grammar.between.values() for text in texts]
    tokens = {token for text in written for token in control.split(text)[1::2]}
    return (*role_markers(grammar, control), *sorted(filter(without_thoughts, tokens)))


def learn_source(source: str, named: Mapping[str, Any]) -> Grammar:
    """Return the grammar of a template's source with these variables."""

    def render(messages: Sequence[Message], *, asked: bool) -> str:
        data = [message.as_dict() for message in messages]
        variables = {**named, "messages": data, "add_generation_prompt": asked}
        return render_template(source, {"tools": None, "documents": None} | variables)

    return learn(render)
