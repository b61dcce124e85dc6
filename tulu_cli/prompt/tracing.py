"""Texts that know which input each of their characters came from, through a whole chat template.

A template joins, cuts and formats what it is given. A `Traced` text is a str in every respect, and
also keeps `spans`: the characters that came from the conversation, each span with its origin. What
no span covers was written by the template. So a rendered prompt says of each of its control tokens
who wrote it, and of each message where it stands, and is the very text that plain strings give.

An operation that is not known here makes a text that counts as the input's as a whole.
"""

import re
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MappingView,
    ValuesView,
)
from typing import Any, NamedTuple, SupportsIndex


class Origin(NamedTuple):
    """The part of the input that a text came from: a key of message `message`, or of none."""

    message: int | None
    key: str


class Span(NamedTuple):
    """The characters from `start` to `end` of a text, which came from `origin`."""

    start: int
    end: int
    origin: Origin


Spans = tuple[Span, ...]


class Traced(str):
    """A str whose `_spans` are in order, are not empty, and do not overlap.

    The name begins with an underscore so that no template can read it.
    """

    __slots__ = ("_spans",)
    _spans: Spans

    def __str__(self) -> str:
        return self

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        text = str.__getitem__(self, key)
        if not isinstance(key, slice):
            at = key.__index__()
            at += len(self) if at < 0 else 0
            return _cut(self, text, at)
        start, _, step = key.indices(len(self))
        if step == 1:
            return _cut(self, text, start)
        return join_texts(self[at] for at in range(len(self))[key])

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))

    def __add__(self, other: str) -> str:
        return join_texts((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return join_texts((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> str:
        return join_texts([self] * times.__index__())

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> str:
        return whole(str.__mod__(self, values), self, values)

    def __rmod__(self, template: str) -> str:
        return percent(template, self)

    def strip(self, chars: str | None = None, /) -> str:
        return _cut(self, str.strip(self, chars), len(self) - len(str.lstrip(self, chars)))

    def lstrip(self, chars: str | None = None, /) -> str:
        text = str.lstrip(self, chars)
        return _cut(self, text, len(self) - len(text))

    def rstrip(self, chars: str | None = None, /) -> str:
        return _cut(self, str.rstrip(self, chars), 0)

    def removeprefix(self, prefix: str, /) -> str:
        text = str.removeprefix(self, prefix)
        return _cut(self, text, len(self) - len(text))

    def removesuffix(self, suffix: str, /) -> str:
        return _cut(self, str.removesuffix(self, suffix), 0)

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return _cut_all(self, str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return _cut_all(self, str.rsplit(self, sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        return _cut_all(self, str.splitlines(self, keepends), None)

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        before, found, after = str.partition(self, sep)
        place = len(before)
        return (
            _cut(self, before, 0),
            _cut(self, found, place),
            _cut(self, after, place + len(found)),
        )

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        before, found, after = str.rpartition(self, sep)
        place = len(before)
        return (
            _cut(self, before, 0),
            _cut(self, found, place),
            _cut(self, after, place + len(found)),
        )

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        most = count.__index__()
        pieces: list[str] = []
        place = 0
        for at in _places(self, old):
            if most == 0:
                break
            most -= 1
            pieces += (self[place:at], new)
            place = at + len(old)
        return join_texts((*pieces, self[place:]))

    def join(self, texts: Iterable[str], /) -> str:
        pieces = [piece for text in texts for piece in (self, text)]
        return join_texts(pieces[1:])

    def format(self, *args: Any, **kwargs: Any) -> str:
        return whole(str.format(self, *args, **kwargs), self, args, kwargs)

    def format_map(self, mapping: Any, /) -> str:
        return whole(str.format_map(self, mapping), self, mapping)


class TracedMarkup(Traced):
    """A text that a template calls safe: what is added to it is escaped for HTML, as by Markup."""

    __slots__ = ()

    def __html__(self) -> str:
        return self

    def __add__(self, other: str) -> str:
        return (
            safe(join_texts((self, escaped(other)))) if isinstance(other, str) else NotImplemented
        )

    def __radd__(self, other: str) -> str:
        return (
            safe(join_texts((escaped(other), self))) if isinstance(other, str) else NotImplemented
        )


def safe(text: str) -> TracedMarkup:
    """Return a text that is not escaped."""
    markup = TracedMarkup(text)
    markup._spans = spans_of(text)
    return markup


def escaped(value: Any) -> str:
    """Return the text with HTML's signs escaped, unless it is called safe."""
    text = shown(value)
    if isinstance(value, TracedMarkup):
        return text
    for sign, name in (("&", "&amp;"), (">", "&gt;"), ("<", "&lt;"), ("'", "&#39;")):
        text = text.replace(sign, name)
    return text.replace('"', "&#34;")


def _same_length(name: str) -> Callable[..., str]:
    """Return a method of str for `Traced`: character by character where the length is kept."""
    original = getattr(str, name)

    def method(self: Traced, *args: Any) -> str:
        text: str = original(self, *args)
        if next(origins_in(args), None) is not None:
            return whole(text, self, args)
        if len(text) == len(self):
            return made(text, self._spans)
        place = text.find(self)
        if place >= 0:
            return made(text, [Span(s + place, e + place, o) for s, e, o in self._spans])
        return whole(text, self)

    method.__name__ = name
    return method


for _name in (
    *("lower", "upper", "casefold", "swapcase", "title", "capitalize", "translate"),
    *("center", "ljust", "rjust", "zfill", "expandtabs"),
):
    setattr(Traced, _name, _same_length(_name))


def made(text: str, spans: Iterable[Span]) -> str:
    """Return `text` with these spans, as a plain str if there is none."""
    spans = tuple(spans)
    if not spans:
        return str.__str__(text)
    traced = Traced(text)
    traced._spans = spans
    return traced


def untraced(text: str) -> Traced:
    """Return a text of the template's as a `Traced`, whose methods trace what they are given."""
    traced = Traced(text)
    traced._spans = ()
    return traced


def trace(text: str, origin: Origin) -> str:
    """Return `text` as one that came from `origin`."""
    return made(text, (Span(0, len(text), origin),) if text else ())


def spans_of(text: str) -> Spans:
    """Return the spans of a text, none for a plain str."""
    return text._spans if isinstance(text, Traced) else ()


def plain(text: str) -> str:
    """Return a text without its spans."""
    return str.__str__(text)


def join_texts(texts: Iterable[str]) -> str:
    """Return the texts as one, each with its spans."""
    pieces = texts if isinstance(texts, (list, tuple)) else list(texts)
    spans: list[Span] = []
    place = 0
    for piece in pieces:
        if isinstance(piece, Traced):
            for start, end, origin in piece._spans:
                if spans and spans[-1].end == start + place and spans[-1].origin == origin:
                    spans[-1] = Span(spans[-1].start, end + place, origin)
                else:
                    spans.append(Span(start + place, end + place, origin))
        place += len(piece)
    return made("".join(pieces), spans)


def _cut(text: Traced, part: str, start: int) -> str:
    """Return `part`, which stands in `text` from `start` on, with its spans."""
    if not part:
        return ""
    end = start + len(part)
    return made(
        part,
        [
            Span(max(span.start, start) - start, min(span.end, end) - start, span.origin)
            for span in text._spans
            if span.start < end and span.end > start
        ],
    )


def _cut_all(text: Traced, parts: list[str], sep: str | None) -> list[str]:
    """Return the parts, which stand in `text` in this order: with `sep` or white space between."""
    found: list[str] = []
    place = 0
    for part in parts:
        place = str.find(text, part, place) if sep is None else place
        found.append(_cut(text, part, place))
        place += len(part) + len(sep or "")
    return found


def _places(text: str, old: str) -> Iterator[int]:
    """Yield where str.replace finds `old`: without overlap, and at each character if it is ''."""
    if not old:
        yield from range(len(text) + 1)
        return
    place = str.find(text, old)
    while place >= 0:
        yield place
        place = str.find(text, old, place + len(old))


def origins_in(value: Any) -> Iterator[Origin]:
    """Yield the origins of all texts in a value, the keys of objects included."""
    if isinstance(value, Traced):
        yield from (span.origin for span in value._spans)
    elif type(value) is dict:
        for item in value.items():
            yield from origins_in(item)
    elif isinstance(value, (list, tuple, KeysView, ItemsView, ValuesView)):
        for one in value:
            yield from origins_in(one)


def whole(text: str, *inputs: Any) -> str:
    """Return a text that was made of `inputs` in an unknown way: all of it is theirs, if any is."""
    origin = next(origins_in(inputs), None)
    return plain(text) if origin is None else trace(text, origin)


def _known(text: str, pieces: Iterable[str], *inputs: Any) -> str:
    """Return the pieces as one if they make up `text`, else `whole`."""
    joined = join_texts(pieces)
    return joined if joined == text else whole(text, *inputs)


def shown(value: Any) -> str:
    """Return what str() gives, as a template shows a value."""
    kind = type(value)
    if kind is str or kind is Traced:
        return value  # type: ignore[no-any-return]
    if kind is TracedMarkup:
        return made(value, value._spans)
    nested = isinstance(value, (list, tuple, dict, MappingView))
    return representation(value) if nested else str(value)


def representation(value: Any) -> str:
    """Return repr() of a value."""
    text = repr(value)
    if type(value) is dict:
        items = [
            join_texts((representation(key), ": ", representation(item)))
            for key, item in value.items()
        ]
        return _known(text, ("{", untraced(", ").join(items), "}"), value)
    if type(value) in (list, tuple):
        items = [representation(item) for item in value]
        return _known(text, (text[:1], untraced(", ").join(items), text[-1:]), value)
    return whole(text, value)


# A conversion of printf-style formatting: its key in a mapping, if it has one.
_CONVERSION = re.compile(r"%(?:\((\w*)\))?[-+ #0]*\d*(?:\.\d+)?[hlL]?[a-zA-Z%]")


def percent(template: str, values: Any) -> str:
    """Return `template % values`."""
    text = str.__mod__(template, values)
    if isinstance(template, Traced):
        return whole(text, template, values)
    given = iter(values if isinstance(values, tuple) else (values,))
    pieces: list[str] = []
    place = 0
    for found in _CONVERSION.finditer(template):
        pieces.append(template[place : found.start()])
        place = found.end()
        if found.group().endswith("%"):
            pieces.append("%")
            continue
        if found.group(1) is not None:
            value = values[found.group(1)]
        elif (value := next(given, None)) is None:
            return whole(text, values)
        one = found.group().replace(f"({found.group(1)})", "", 1)
        pieces.append(shaped(value, one % (value,)))
    return _known(text, (*pieces, template[place:]), values)


def shaped(value: Any, text: str) -> str:
    """Return `text`, which shows a value in some form, as the value itself if it is the same."""
    exact = shown(value) if type(value) in (str, Traced, list, tuple, dict) else text
    return exact if exact == text else whole(text, value)


def json_text(value: Any, encode: Callable[[Any], str], *, sort_keys: bool) -> str:
    """Return `encode(value)`, with the texts in it traced; `encode` keeps the order of keys."""
    if sort_keys:
        value = _sorted(value)
    text = encode(value)
    texts: list[Traced] = []
    mark = next(mark for mark in map("Zq{}jx".format, range(len(text) + 1)) if mark not in text)

    def hold(value: Any) -> Any:
        if isinstance(value, Traced):
            texts.append(value)
            return f"{mark}{len(texts) - 1}{mark}"
        if isinstance(value, Mapping):
            return {hold(key): hold(item) for key, item in value.items()}
        return list(map(hold, value)) if isinstance(value, (list, tuple)) else value

    pieces = re.split(f'"{mark}(\\d+){mark}"', encode(hold(value)))
    for at in range(1, len(pieces), 2):
        held = texts[int(pieces[at])]
        pieces[at] = whole(encode(plain(held)), held)
    return _known(text, pieces, value)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(item) for key, item in sorted(value.items(), key=lambda one: one[0])}
    return list(map(_sorted, value)) if isinstance(value, (list, tuple)) else value


def map_traced(value: Any, origin: Origin) -> Any:
    """Return a JSON-like value with every text traced, the keys of objects included."""
    if isinstance(value, str):
        return trace(value, origin)
    if isinstance(value, (list, tuple)):
        return [map_traced(item, origin) for item in value]
    if isinstance(value, Mapping):
        return {map_traced(k, origin): map_traced(v, origin) for k, v in value.items()}
    return value
