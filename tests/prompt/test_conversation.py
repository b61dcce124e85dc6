"""JSON to messages: what is taken, and where the errors point."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt import decode_utf8, parse_messages, render_chat

from .pairs import Pair


def parse(value: Any) -> tuple[Message, ...]:
    return parse_messages(json.dumps(value).encode(), "chat.json")


def test_array_and_object() -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi\n"}]
    expected = (Message("system", "S"), Message("user", "Hi\n"))
    assert parse(messages) == expected
    assert parse({"model": "m", "messages": messages}) == expected


def test_text_parts_are_joined_and_kept() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert parse([{"role": "user", "content": parts}]) == (
        Message("user", "one two", {"content": parts}),
    )
    assert parse([{"role": "user", "content": []}]) == (Message("user", "", {"content": []}),)


def test_other_keys_are_kept() -> None:
    calls = [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    assert parse([message]) == (Message("assistant", "", {"content": None, "tool_calls": calls}),)
    del message["content"]
    assert parse([message]) == (Message("assistant", "", {"tool_calls": calls}),)
    named = {"role": "tool", "name": "f", "content": "1"}
    assert parse([named]) == (Message("tool", "1", {"name": "f"}),)


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "refusal"])
def test_null_beside_what_else_an_assistant_said(key: str) -> None:
    message = {"role": "assistant", "content": None, key: "Because."}
    (read,) = parse([message])
    assert (read.content, read.as_dict()) == ("", message)
    assert read.as_text() == Message("assistant", "", {key: "Because."})


def test_byte_order_mark_and_unicode() -> None:
    data = '\ufeff[{"role": "user", "content": "é \\ud83d\\ude00"}]'.encode()
    assert parse_messages(data, "stdin") == (Message("user", "é 😀"),)


DEEP: Any = "x"
for _ in range(200):
    DEEP = [DEEP]

WRONG: list[tuple[Any, str]] = [
    ([], "chat.json has no message"),
    ({}, "must be an array of messages"),
    ("text", "must be an array of messages"),
    ([{"role": "user", "content": "x"}, 3], r"messages\[1\] must be an object"),
    ([{"content": "x"}], r"messages\[0\]\.role is missing"),
    ([{"role": "", "content": "x"}], r"messages\[0\]\.role must be a text"),
    ([{"role": "user"}], r"messages\[0\]\.content is missing"),
    ([{"role": "assistant", "content": None, "id": "a"}], r"messages\[0\]\.content must be a text"),
    (
        [{"role": "user", "content": None, "reasoning_content": "x"}],
        r"messages\[0\]\.content must be a text",
    ),
    ([{"role": "user", "content": None}], r"messages\[0\]\.content must be a text or"),
    ([{"role": "user", "content": 5}], r"messages\[0\]\.content must be a text or"),
    ([{"role": "user", "content": ["x"]}], r"messages\[0\]\.content\[0\] must be"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], r"content\[0\] must be .*only text"),
    ([{"role": "user", "content": [{"type": "text"}]}], r"content\[0\]\.text must be a text"),
    ([{"role": "user", "content": "a\ud800"}], r"messages\[0\]\.content has a lone surrogate"),
    ([{"role": "user", "content": "", "n": [{"k": "\udfff"}]}], r"messages\[0\]\.n\[0\]\.k has"),
    ([{"role": "user", "content": "", "\ud800": 1}], r"messages\[0\] \(a key\) has a lone"),
    ([{"role": "user", "content": "", "n": DEEP}], "nested more than 100 levels"),
]


@pytest.mark.parametrize(("value", "complaint"), WRONG)
def test_wrong_shape_is_named_by_its_path(value: Any, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint) as error:
        parse(value)
    str(error.value).encode()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b'[{"role": "user",\n  "content": oops}]', "line 2, column 14"),
        (b"", "line 1, column 1"),
        (b'[{"role": "user"', "line 1, column 17"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b'[{"role": "user", "content": "\xff"}]', "byte 30 is 0xff"),
        (b"\xe9", "byte 0 is 0xe9"),
    ],
)
def test_what_is_not_json_is_located(data: bytes, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parse_messages(data, "chat.json")


def test_decode_utf8() -> None:
    assert decode_utf8("é\r\n".encode(), "stdin") == "é\r\n"
    with pytest.raises(BadInput, match=r"^stdin is not UTF-8: byte 17 is 0xe9"):
        decode_utf8(b"seventeen bytes: \xe9", "stdin")


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_bytes_give_messages_or_bad_input(data: bytes) -> None:
    try:
        assert parse_messages(data, "stdin")
    except BadInput as error:
        assert str(error).startswith("stdin")


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["user", "text", "x"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "content", "type", "text", "k"]), inner),
    ),
)


@given(st.lists(json_values, max_size=3))
@settings(deadline=None, max_examples=200)
def test_any_json_gives_messages_or_bad_input(value: Any) -> None:
    try:
        assert len(parse(value)) == len(value)
    except BadInput as error:
        assert str(error).startswith("chat.json")


ORDERS: list[list[dict[str, Any]]] = [
    [{"content": "Hi", "role": "user"}],
    [{"name": "A", "content": "Hi", "role": "user"}],
    [{"role": "user", "name": "A", "content": "Hi"}],
    [{"content": [{"text": "Hi", "type": "text"}], "role": "user"}],
    [{"tool_calls": [{"function": {"name": "f"}}], "content": None, "role": "assistant"}],
    [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}],
]


@pytest.mark.parametrize("values", ORDERS, ids=range(len(ORDERS)))
@pytest.mark.parametrize("each", ["m", "m.keys() | list", "m | items | list"])
def test_the_keys_of_a_message_keep_their_order(
    tulu: Pair, values: list[dict[str, Any]], each: str
) -> None:
    # The loop over a content makes it one of parts, which are given as they are.
    source = "{% for m in messages %}{% for p in m.content or [] %}{% endfor %}"
    source += f"{{{{ {each} | tojson }}}}{{% endfor %}}"
    messages = parse(values)
    expected = tulu.theirs.apply_chat_template(values, tokenize=False, chat_template=source)
    assert (
        render_chat(tulu.ours, messages, template=source, add_generation_prompt=False) == expected
    )
    assert [message.as_dict() for message in messages] == values
