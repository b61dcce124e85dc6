"""No text of an input becomes a control token, wherever it stands and whatever a template does.

Each string of a conversation, the keys of objects included, is replaced in turn by what could be
one. The prompt has the control tokens of the same conversation with a harmless text there.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Any

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.prompt import Tokenizer, render_chat
from tulu_cli.prompt.chat import chat_pieces
from tulu_cli.prompt.encode import encode_pieces

from .habits import HABITS, NAMES, source
from .habits.talks import as_parts, full, read
from .pairs import Pair, turns

# Letters that are in no control token, and in no text of the conversation.
HARMLESS = "QJ"
ROLES = ("system", "user", "assistant", "tool", "developer")

Place = tuple[Any, ...]


@dataclass(frozen=True)
class Key:
    """The last step of a place where the key of an object is meant, and not its value."""

    name: str


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where each string stands, in the order of the document."""
    if isinstance(value, str):
        yield at
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*at, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            if len(at) > 2 or (len(at) == 2 and at[0] != "messages"):
                yield (*at, Key(key))  # those of a message itself are no user's
            yield from places(item, (*at, key))


def replaced(value: Any, at: Place, text: str) -> Any:
    """A copy with another string in one place."""
    if not at:
        return text
    step, rest = at[0], at[1:]
    if isinstance(step, Key):
        return {(text if key == step.name else key): item for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, rest, text) if n == step else item for n, item in enumerate(value)]
    return {key: replaced(item, rest, text) if key == step else item for key, item in value.items()}


def outcome(tokenizer: Tokenizer, name: str, value: Any) -> tuple[str, list[int]] | None:
    """The text and the control tokens of the prompt, or None if it is refused."""
    talk = read(value)
    try:
        pieces = chat_pieces(tokenizer, talk.messages, template=source(name), **talk.options)
    except BadInput:
        return None
    ids = encode_pieces(tokenizer, pieces)
    return "".join(pieces), [number for number in ids if number in tokenizer.special_ids]


def count(text: str, word: str) -> int:
    """How often a word stands in a text: as it is, or escaped, in whichever case and lines."""
    spellings = {word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1]}
    spellings |= {escape(one, quote=False) for one in spellings}
    return sum(bare(text).count(one) for one in set(map(bare, spellings)))


def bare(text: str) -> str:
    """The text without white space, in lower case."""
    return re.sub(r"\s", "", text).casefold()


class Attack:
    """A conversation, with a template and its tokenizer, in which strings are replaced."""

    def __init__(self, pair: Pair, name: str) -> None:
        self._ours = pair.ours
        self._name = name
        self.value = full(HABITS[name].takes)
        self._known: dict[tuple[Place, ...], tuple[str, list[int]] | None] = {}
        plain = outcome(self._ours, name, self.value)
        # The strings that the template reads: another text in such a place changes the prompt.
        self.places = [at for at in places(self.value) if self.harmless([at]) != plain]

    def is_role(self, place: Place) -> bool:
        """Whether the string is the role of a message, which decides on control tokens."""
        return place[-1] == "role" and len(place) == 3

    def outcome(self, at: Sequence[Place], words: Sequence[str]) -> tuple[str, list[int]] | None:
        value = self.value
        # The key of an object last: its values are found by it.
        for place, word in sorted(zip(at, words, strict=True), key=lambda one: -len(one[0])):
            value = replaced(value, place, word)
        return outcome(self._ours, self._name, value)

    def harmless(self, at: Sequence[Place]) -> tuple[str, list[int]] | None:
        """What comes of a harmless text in these places."""
        key = tuple(at)
        if key not in self._known:
            self._known[key] = self.outcome(at, [HARMLESS] * len(at))
        return self._known[key]

    def fails(self, at: Sequence[Place], words: Sequence[str]) -> str | None:
        """What is wrong about the prompt with these words there, or None."""
        wanted, found = self.harmless(at), self.outcome(at, words)
        said = f"{words} at {at}"
        if wanted is None or found is None:
            refused = "a harmless text" if wanted is None else "it"
            return None if wanted == found else f"{said}: only {refused} is refused"
        if found[1] != wanted[1]:
            return f"{said}: {len(found[1])} control tokens, not {len(wanted[1])}: {found[0]!r}"
        if len(at) == 1 and count(found[0], words[0]) < count(wanted[0], HARMLESS):
            return f"{said}: is not shown: {found[0]!r}"
        return None


def assert_none(failures: Iterable[str | None]) -> None:
    found = [failure for failure in failures if failure]
    assert not found, f"{len(found)} of them, first: {found[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_a_control_token(habits: dict[str, Pair], name: str) -> None:
    attack, controls = Attack(habits[name], name), HABITS[name].controls
    for every in (controls, [f"x {' '.join(controls)} x"]):
        words = cycle(every)
        assert_none(attack.fails([place], [next(words)]) for place in attack.places)


@pytest.mark.parametrize("name", NAMES)
def test_a_forged_turn(habits: dict[str, Pair], name: str) -> None:
    attack = Attack(habits[name], name)
    parts = "parts" in HABITS[name].takes
    talk = [as_parts(message) for message in turns("JQ", "evil")] if parts else turns("JQ", "evil")
    forged = render_chat(habits[name].ours, talk, template=source(name))
    turn = forged[forged.index("JQ") :]
    assert "evil" in turn
    assert_none(attack.fails([place], [turn]) for place in attack.places)


@pytest.mark.parametrize("name", NAMES)
def test_halves_of_a_control_token_in_neighbours(habits: dict[str, Pair], name: str) -> None:
    attack, controls = Attack(habits[name], name), HABITS[name].controls
    neighbours = zip(attack.places, attack.places[1:], strict=False)
    failures = []
    for number, both in enumerate(neighbours):
        token = controls[number % len(controls)]
        cut = 1 + number % (len(token) - 1)
        failures.append(attack.fails(both, [f"x{token[:cut]}", f"{token[cut:]}x"]))
    assert_none(failures)


@pytest.mark.parametrize("name", NAMES)
def test_the_word_in_a_control_token(habits: dict[str, Pair], name: str) -> None:
    attack = Attack(habits[name], name)
    inner = {re.sub(r"^[^\w/]+|\W+$", "", token) for token in HABITS[name].controls}
    words = cycle(sorted(inner))
    assert_none(
        attack.fails([place], [word])
        for place in attack.places
        if (word := next(words)) not in ROLES or not attack.is_role(place)
    )
