"""The prompt is exactly what transformers' apply_chat_template makes: text and ids."""

import pytest

from tulu_cli.core import Message
from tulu_cli.prompt import encode_chat

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
