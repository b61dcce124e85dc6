"""Stand-ins that keep a user's text from becoming control tokens inside a template.

A stand-in is one private-use character that occurs in no input. While the template runs it is
opaque: what then reads as a control token was written by the template. A template that looks for
a control token in a message does not find it there; that is the price.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.prompt.render import may_cut


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

    def touches_any(self, texts: Iterable[str]) -> bool:
        """Return True if `touches` is True of any of the texts."""
        for text in texts:
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


def map_texts(value: Any, change: Callable[[str], str], change_key: Callable[[str], str]) -> Any:
    """Return a copy of a JSON-like value with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [map_texts(item, change, change_key) for item in value]
    if isinstance(value, (dict, Mapping)):
        return {
            map_texts(key, change_key, change_key): map_texts(item, change, change_key)
            for key, item in value.items()
        }
    return value


PRIVATE = range(0xF0000, 0x10FFFE)  # planes 15 and 16
PRIVATE_PATTERN = re.compile(f"[{chr(PRIVATE[0])}-{chr(PRIVATE[-1])}]")
ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


def private_characters(*inputs: Any) -> Iterator[str]:
    """Yield private-use characters that no text in `inputs` has. Raise BadInput if none is left."""
    odd = (text for text in texts_in(inputs) if not text.isascii())
    used = {char for text in odd for char in PRIVATE_PATTERN.findall(text)}
    yield from (chr(code) for code in PRIVATE if chr(code) not in used)
    raise BadInput("The conversation uses up the private-use characters of Unicode.")


RenderData = Callable[[Any], str]


def safe_pieces(
    render: RenderData,
    data: Any,
    texts: Sequence[str],
    control: ControlTexts,
    source: str,
    trusted: Any,
) -> list[str]:
    """Return the plain texts of a prompt with the control tokens of its template between them.

    `render` runs the template of this `source` on `data`, in which the user wrote `texts`, and on
    `trusted`.

    Where a template cuts and joins what it is given, hiding control tokens is not enough: the
    conversation is rendered again with their marks hidden, and if that gives other control tokens,
    it counts.
    """
    touched = control.touches_any(texts)
    marked = may_cut(source) and any(mark in text for text in texts for mark in control.marks)
    if not (touched or marked):
        return control.split(render(data))
    shield = Shield(control, source, private_characters(texts, source, trusted, control.joined))
    try:
        pieces = shield.split(render(shield.hide(data) if touched else data))
    except BadInput as error:  # it may quote a message
        raise BadInput(shield.restore(str(error))) from error
    if not marked:
        return pieces
    try:
        others = shield.split(render(shield.hide_marks(data)))
    except BadInput:
        return pieces  # the template needs to see a mark, as in `</think>`
    if others[1::2] != pieces[1::2] or "".join(others) == "".join(pieces):
        return others
    return pieces


class Shield:
    """Puts stand-ins into what comes from the user, and takes them out of what was rendered."""

    def __init__(self, control: ControlTexts, source: str, free: Iterator[str]) -> None:
        self._control = control
        self._source = source
        self._free = free
        self._stand_ins: dict[str, str] = {}
        self._guard = next(free)
        self._marks = {char: self._stand_in(char) for char in control.marks}

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
        """Return the text with every stand-in as the plain text that it stands for."""
        for plain, char in self._stand_ins.items():
            text = text.replace(char, plain)
        return text.replace(self._guard, "")

    def _stand_in(self, text: str) -> str:
        if text not in self._stand_ins:
            self._stand_ins[text] = next(self._free)
        return self._stand_ins[text]

    def _hide_in_text(self, text: str) -> str:
        return self._control.pattern.sub(lambda match: self._stand_in(match.group()), text)

    def _hide_in_value(self, text: str) -> str:
        return self._hide_in_text(self._guarded(text))

    def _hide_marks_in_value(self, text: str) -> str:
        text = self._guarded(text)
        for mark, char in self._marks.items():
            text = text.replace(mark, char)
        return text

    def _guarded(self, text: str) -> str:
        """Return the text with guards at the edges that could complete a control token.

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

    def split(self, text: str) -> list[str]:
        """Return the plain texts of what was rendered with the control tokens between them."""
        pieces = self._control.split(text)
        return pieces if text.isascii() else list(map(self.restore, pieces))
