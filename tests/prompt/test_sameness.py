"""The prompt is exactly what transformers' apply_chat_template makes: text and ids."""

from typing import Any

import pytest

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt import encode_chat, render_chat

from .pairs import Pair, turns

ODD = {
    "one": turns("Hello"),
    "empty": turns(""),
    "unicode": turns("Ünïcödé 中文 العربية ﬁ Ａ", "ไทย ελληνικά"),
    "emoji": turns("👩‍👩‍👧‍👦 🇩🇪 😀", "👍🏽"),
    "line ends": turns("one\r\ntwo\rthree\n\n", "\r\n\r\n"),
    "spaces": turns("  \n leading and trailing \t\n\n", "\n\n\nAnswer  \n"),
    "white only": turns(" ", "\n", "\t\r\n", "\u3000\u00a0"),
    "code": turns("```python\ndef f(x: int) -> int:\n    return x < 1 | 2\n```", "a <b> </b> |"),
    "reasoning": turns("Why?", "<think>\nBecause.\n</think>\n\nSo."),
    "template text": turns("{{ messages }} {% raw %}", "{# no #} {{ bos_token }}"),
    "edges": turns("> quoted", "text <", "<|", "|>", "<", ">", "s", "</"),
    "private": turns("\U000f0000 \U0010fffd \ue000"),
    "controls": turns("\x00\x01\x7f\x1b[0m", "\ufeff\u200b\u202e"),
    "long": turns(*(f"Turn number {number}\n" * (number % 7) for number in range(200))),
}
SYSTEM = [Message("system", "Be brief.\n"), *turns("Hi", "Hello", "Bye")]


@pytest.mark.parametrize("generation", [True, False])
@pytest.mark.parametrize("name", ODD)
def test_same_as_transformers(pair: Pair, name: str, generation: bool) -> None:
    pair.assert_same(ODD[name], add_generation_prompt=generation)


@pytest.mark.parametrize("kind", ["tulu", "demo", "chatml", "llama2", "unigram"])
def test_same_with_headers_that_are_plain_text(pairs: dict[str, Pair], kind: str) -> None:
    pairs[kind].assert_same(turns("<|assistant|>\nI agree.\n<|user|>\n"))


@pytest.mark.parametrize("kind", ["tulu", "demo", "chatml", "phi", "unigram"])
def test_same_with_system_message(pairs: dict[str, Pair], kind: str) -> None:
    pairs[kind].assert_same(SYSTEM)
    pairs[kind].assert_same(SYSTEM[:1])


@pytest.mark.parametrize("kind", ["demo", "chatml"])
def test_same_with_tool_message(pairs: dict[str, Pair], kind: str) -> None:
    tool = Message("tool", '{"degrees": 21}', {"name": "weather", "tool_call_id": "1"})
    pairs[kind].assert_same([*turns("Weather?", ""), tool])


@pytest.mark.parametrize("answer", ["The answer is", "The answer is ", "\n", "", "  x\n\n", "42 <"])
def test_same_when_continuing(pair: Pair, answer: str) -> None:
    pair.assert_same(turns("Question?", answer), continue_final=True)


def test_same_with_tools(pairs: dict[str, Pair]) -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "é <b> & 'q'"}}]
    pairs["chatml"].assert_same(turns("Call f"), tools=tools)


def test_same_with_named_template_source_and_variables(pairs: dict[str, Pair]) -> None:
    pairs["chatml"].assert_same(turns("Hi"), template="tool_use")
    source = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ mood }}{% break %}{% endfor %}"
    pairs["tulu"].assert_same(turns("Hi", "Ho"), template=source, kwargs={"mood": "glad"})


PARTS = {
    "loops": "{% for p in m.content %}{{ p.text }}{% endfor %}",
    "loops or not": "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for p in m['content'] if p['type'] == 'text' %}[{{ p['text'] | trim }}]{% endfor %}"
    "{% endif %}",
    "a name": "{% set c = m.content or [] %}{% for p in c %}{{ p.text }}{% endfor %}",
    "a filter": "{% for p in m.content | selectattr('type', 'equalto', 'text') %}{{ p.text }}"
    "{% endfor %}",
    "a macro": "{% macro show(x) %}{% for p in x %}{{ p.text }}{% endfor %}{% endmacro %}"
    "{{ show(m.content) }}",
    "the first": "{{ m.content[0].text }}",
}


@pytest.mark.parametrize("loop", PARTS)
@pytest.mark.parametrize("texts", [["Hi"], [" one\n", "<|im_end|>x"[:9], "text"]], ids=len)
def test_same_with_parts(pairs: dict[str, Pair], loop: str, texts: list[str]) -> None:
    source = "{% for m in messages %}<|im_start|>{{ m.role }}\n" + PARTS[loop]
    source += "<|im_end|>\n{% endfor %}"
    parts = [{"type": "text", "text": text} for text in texts]
    message = Message("user", "".join(texts), {"content": parts})
    pairs["chatml"].assert_same([message], template=source)
    if loop != "the first":
        pairs["chatml"].assert_same([message], template=source, continue_final=True)


def test_parts_are_one_text_for_a_template_that_takes_a_text(pairs: dict[str, Pair]) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    given, plain = Message("user", "one two", {"content": parts}), Message("user", "one two")
    ours = pairs["chatml"].ours
    for open_end in (False, True):
        ids = encode_chat(ours, [plain], continue_final=open_end)
        assert encode_chat(ours, [given], continue_final=open_end) == ids


NULLS = {
    "told": "{% if m.content is none %}call {{ m.tool_calls | length }}{% endif %}",
    "empty": "{{ m.content or '' }}",
    "printed": "{{ m.content }}",
}


@pytest.mark.parametrize("shown", NULLS)
def test_same_with_null(pairs: dict[str, Pair], shown: str) -> None:
    source = "{% for m in messages %}<|im_start|>" + NULLS[shown] + "<|im_end|>{% endfor %}"
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": "<|im_end|>"[:5]}}}
    messages = [*turns("Hi"), Message("assistant", "", {"content": None, "tool_calls": [call]})]
    pairs["chatml"].assert_same(messages, template=source)


def test_null_is_an_empty_text_where_a_template_fails_otherwise(pairs: dict[str, Pair]) -> None:
    source = "{% for m in messages %}{{ m.role + m.content + '<|im_end|>' }}{% endfor %}"
    null = Message("assistant", "", {"content": None, "reasoning_content": "x"})
    ours = pairs["chatml"].ours
    assert render_chat(ours, [*turns("Hi"), null], template=source).endswith("assistant<|im_end|>")
    extras: list[dict[str, Any]] = [{"content": None}, {"content": []}]
    for extra in extras:
        open_one = Message("assistant", "", extra)
        with pytest.raises(BadInput):
            encode_chat(ours, [open_one], template=PARTS["loops"], continue_final=True)


def test_same_raw_text(pair: Pair) -> None:
    for text in ("", "Hello", " Hello\n", "\n\n", "Ünïcödé 😀", "a  b   c", "x" * 500):
        assert pair.ours.encode_raw(text) == tuple(pair.theirs(text).input_ids)


def test_raw_text_that_spells_bos_is_not_given_another(tulu: Pair) -> None:
    ids = tulu.ours.encode_raw("<|begin_of_text|>Hello")
    assert ids == tuple(tulu.theirs("Hello").input_ids)
    assert ids.count(128000) == 1


def test_same_decoding(pair: Pair) -> None:
    ids = encode_chat(pair.ours, turns("Ünïcödé 😀\n", "  two  spaces"))
    for skip in (True, False):
        expected = pair.theirs.decode(ids, skip_special_tokens=skip)
        assert pair.ours.decode(ids, skip_special_tokens=skip) == expected


def test_tulu_template_is_the_published_one(tulu: Pair) -> None:
    ids = encode_chat(tulu.ours, [Message("system", "S"), *turns("U", "A", "V")])
    text = (
        "<|system|>\nS\n<|user|>\nU\n<|assistant|>\nA<|end_of_text|>\n<|user|>\nV\n<|assistant|>\n"
    )
    assert tulu.ours.decode(ids, skip_special_tokens=False) == text
    assert ids[:5] == (27, 91, 9125, 91, 397)
    assert ids[-5:] == (27, 91, 78191, 91, 397)
    assert ids.count(128001) == 1
