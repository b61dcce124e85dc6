"""Traced texts are the texts that plain strings give, and no character of the input gets lost.

The input is written in small letters and signs, the templates in capitals and digits: so each
character shows whose it is.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.errors import BadInput
from tulu_cli.prompt.environment import environment
from tulu_cli.prompt.render import render_template
from tulu_cli.prompt.tracing import (
    Origin,
    Traced,
    join_texts,
    map_traced,
    plain,
    spans_of,
    trace,
    untraced,
)

HERE = Origin(3, "content")
inputs = st.text("abc<| \n%{}.", max_size=8)
ours = st.text("XYZ ", max_size=5)


def covered(text: str) -> str:
    """The characters that came from the input."""
    return "".join(text[start:end] for start, end, _ in spans_of(text))


def not_covered(text: str) -> str:
    kept = [True] * len(text)
    for start, end, _ in spans_of(text):
        kept[start:end] = [False] * (end - start)
    return "".join(char for char, mine in zip(plain(text), kept, strict=True) if mine)


def assert_whole(text: str) -> None:
    """No character of the input counts as the template's, and the spans are in order."""
    assert not set(not_covered(text)) & set("abc<|")
    edges = [edge for span in spans_of(text) for edge in span[:2]]
    assert edges == sorted(edges)
    assert all(start < end <= len(text) for start, end, _ in spans_of(text))


METHODS: dict[str, tuple[Any, ...]] = {
    "strip": (),
    "lstrip": ("a",),
    "rstrip": (),
    "removeprefix": ("a",),
    "removesuffix": ("X",),
    "upper": (),
    "title": (),
    "casefold": (),
    "center": (20, "Y"),
    "ljust": (9,),
    "rjust": (9, "Z"),
    "zfill": (12,),
    "expandtabs": (),
    "replace": ("a", "X"),
    "join": (["Z", "a"],),
    "split": (),
    "rsplit": ("a", 1),
    "splitlines": (),
    "partition": ("a",),
    "rpartition": ("X",),
    "swapcase": (),
    "translate": ({97: "b"},),
    "__mul__": (3,),
    "__add__": ("Y",),
    "__radd__": ("Y",),
    "__getitem__": (slice(1, -1),),
}


@pytest.mark.parametrize("name", METHODS)
@given(pieces=st.lists(st.tuples(inputs, ours), min_size=1, max_size=3))
@settings(deadline=None, max_examples=15)
def test_methods_give_what_those_of_str_give(name: str, pieces: list[tuple[str, str]]) -> None:
    text = join_texts([piece for one, two in pieces for piece in (trace(one, HERE), two)])
    real = plain(text)
    traced = text if isinstance(text, Traced) else untraced(text)
    if name == "__radd__":
        assert traced.__radd__("Y") == "Y" + real
        return
    expected = getattr(real, name)(*METHODS[name])
    found = getattr(traced, name)(*METHODS[name])
    assert found == expected
    results = found if isinstance(found, (list, tuple)) else [found]
    if name not in ("upper", "title", "swapcase", "translate", "join"):
        for one in results:
            assert_whole(one)
        if name not in ("replace", "expandtabs"):
            for one in results:
                assert not set(covered(one)) & set("XYZ")


def test_iterating_slicing_and_stepping() -> None:
    text = join_texts(["X", trace("ab", HERE), "Y"])
    assert [covered(char) for char in text] == ["", "a", "b", ""]
    assert covered(text[::-1]) == "ba"
    assert text[-2] == "b"
    assert covered(text[-2]) == "b"
    assert text[5:] == ""


# Every way in which a template makes a text: {0} is the input.
EXPRESSIONS = [
    "t",
    "'X' + t + 'Y'",
    "'X' ~ t ~ 5",
    "t ~ t",
    "'X%sY%d' % (t, 5)",
    "'%(k)s-%%' % {'k': t}",
    "'X%5.2sY' % t",
    "'X%rY' % [t]",
    "'X{}Y{}'.format(t, 1)",
    "'X{0!r}Y{k:>9}'.format(t, k=t)",
    "'{0[k]}'.format({'k': t})",
    "'X{k}'.format_map({'k': t})",
    "t.format(1) if '{' not in t else t",
    "'X'.join([t, 'Y', t])",
    "'aXbX'.replace('X', t)",
    "'X'.center(9, t[:1] or 'Y')",
    "[t, 'X']",
    "{'k': [t], t: 1}",
    "(t, 1)",
    "t[1:]",
    "t[:-1].strip()",
    "t.split('a') | join('X')",
    "t.split() | map('upper') | join",
    "[t] | map('replace', 'a', 'X') | join('Z')",
    "[{'n': t}] | map(attribute='n') | join('Z')",
    "[{'n': t}] | join('Z', attribute='n')",
    "t | tojson",
    "{'k': [t, 1, true, none], t: {'X': t}} | tojson",
    "{'k': [t], t: {'X': t}} | tojson(indent=2)",
    "{'z': t, 'a': [t]} | tojson(sort_keys=true, ensure_ascii=true)",
    "[t] | tojson(separators=(',', ':'))",
    "t | tojson | indent(2)",
    "t | indent(4, true)",
    "(t ~ '\n\n' ~ t) | indent('XX', blank=true)",
    "t | replace('a', 'X')",
    "'aXa' | replace('X', t)",
    "'X%sY' | format(t)",
    "'X%(k)s' | format(k=t)",
    "t | string",
    "[t] | string",
    "t | safe + '<X>'",
    "'X' | safe + t",
    "t | e",
    "('X<' ~ t) | escape",
    "t | list | join('X')",
    "t | list | reverse | join",
    "t | trim | lower | urlize",
    "[t] | min ~ [[t, 'X']] | groupby(0) | list",
    "t | reverse",
    "t | default('X', true)",
    "t | truncate(5)",
    "t | wordwrap(3)",
    "t | center(20)",
    "t | capitalize",
    "t | title",
    "t | urlencode",
    "t | striptags",
    "t | pprint",
    "t | forceescape",
    "{'k': t} | xmlattr",
    "{'k': t} | dictsort",
    "{'k': t} | items | list",
    "[t, 'X'] | sort | join",
    "[t, 'X', t] | unique | join",
    "['X', t] | first ~ ['X', t] | last",
    "[t] | batch(2, 'X') | list",
    "[[t]] | sum(start=[])",
    "[t, 'X'] | max",
    "m(t)",
    "'X' if t == 'a' else t | length ~ t",
]
BLOCKS = [
    "{% set s %}X{{ t }}Y{% endset %}{{ s.strip('X') }}",
    "{% filter upper | lower %}X{{ t }}{% endfilter %}",
    "{% for c in t %}{{ c }}X{% endfor %}",
    "{% for k, v in {t: t}.items() %}{{ k }}={{ v }}{% endfor %}",
    "{% set n = namespace(s='') %}{% for c in t %}{% set n.s = n.s + c %}{% endfor %}{{ n.s }}",
    "{% set d = {t: [t]} %}{{ d.items() }}{{ d.keys() }}{{ d.values() }}",
    "{% generation %}X{{ t }}{% endgeneration %}",
    "{% call(x) m2() %}{{ x }}{{ t }}{% endcall %}",
    "{% if t in 'abc' %}{{ t }}{% elif t is string %}X{{ t }}{% endif %}",
]
MACROS = "{% macro m(x) %}X{{ x }}Y{% endmacro %}{% macro m2() %}X{{ caller(t) }}{% endmacro %}"
SOURCES = [MACROS + f"X{{{{ {one} }}}}Y" for one in EXPRESSIONS] + [MACROS + one for one in BLOCKS]
# Where signs of the input are written in another way, a part of it is not there any more.
texts = st.one_of(inputs, st.sampled_from(["a", "<|a|>", "</a", "a'b", 'a"b', "é\u2028a", "a\\b"]))


@pytest.mark.parametrize("source", SOURCES)
@given(text=texts)
@settings(deadline=None, max_examples=6)
def test_a_template_writes_the_same_with_traces(source: str, text: str) -> None:
    try:
        expected = render_template(source, {"t": text})
    except BadInput as error:
        with pytest.raises(BadInput) as other:
            render_template(source, {"t": trace(text, HERE)}, traces=True)
        assert str(other.value) == str(error)
        return
    found = render_template(source, {"t": trace(text, HERE)}, traces=True)
    assert found == expected
    if set(text) & set("bc<|") and "upper" not in source:
        assert_input_is_covered(source, text, found)


def assert_input_is_covered(source: str, text: str, found: str) -> None:
    """What came from the input has a span: no sign of it is the template's."""
    written = render_template(source, {"t": ""})
    mine = not_covered(found)
    for char in set(text) & set("bc<|"):
        assert mine.count(char) <= written.count(char) + source.count(char)
        if char not in source:
            assert char not in mine


def test_every_filter_is_tried() -> None:
    tried = " ".join((*EXPRESSIONS, *BLOCKS))
    numbers = {"abs", "count", "filesizeformat", "float", "int", "length", "round", "wordcount"}
    choosing = {"attr", "select", "reject", "selectattr", "rejectattr", "slice", "random"}
    names = environment().filters.keys() - numbers - choosing
    assert not {name for name in names if name not in tried}


def test_spans_keep_their_origins() -> None:
    value = map_traced({"a": ["x", {"y": "z"}], "n": 1}, Origin(None, "tools"))
    variables = {"v": value, "w": trace("q", HERE)}
    found = render_template("{{ v | tojson }}{{ w }}", variables, traces=True)
    assert found == '{"a": ["x", {"y": "z"}], "n": 1}q'
    texts = {origin: found[start:end] for start, end, origin in spans_of(found)}
    assert texts[HERE] == "q"
    assert covered(found) == '"a""x""y""z""n"q'
