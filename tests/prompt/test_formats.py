"""Conversations in every known shape, recognised, read and written; errors name line and path."""

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.core import Message
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.prompt.inspect.formats import (
    FORMATS,
    Row,
    format_named,
    read_row,
    recognise,
    tools_of,
)
from tulu_cli.prompt.inspect.rows import Chunk, read_chunks

from .pairs import turns
from .strategies import conversations, texts

TALK = (Message("system", "S"), *turns("Hi", "Hello"))
SHAPES: dict[str, Any] = {
    "messages": [{"role": m.role, "content": m.content} for m in TALK],
    "openai": {"messages": [{"role": m.role, "content": m.content} for m in TALK]},
    "sharegpt": {
        "conversations": [
            {"from": "system", "value": "S"},
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello"},
        ]
    },
    "pairs": {"system": "S", "prompt": "Hi", "response": "Hello"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_recognised_read_and_written(name: str) -> None:
    found = recognise(SHAPES[name])
    assert found is not None
    assert found.name == name
    row = read_row(SHAPES[name], "f")
    assert row == Row(TALK)
    assert found.write(row) == SHAPES[name]


@pytest.mark.parametrize(
    "keys",
    [("role", "content"), ("role", "value"), ("from", "content")],
    ids=" and ".join,
)
@pytest.mark.parametrize("roles", [("system", "user", "assistant"), ("system", "human", "gpt")])
def test_conversations_whose_turns_are_written_as_messages(
    keys: tuple[str, str], roles: tuple[str, ...]
) -> None:
    turns_ = [{keys[0]: role, keys[1]: m.content} for role, m in zip(roles, TALK, strict=True)]
    assert read_row({"conversations": turns_, "n": 1}, "f") == Row(TALK, {"n": 1})


def test_a_conversation_of_both_kinds_of_turn() -> None:
    call = {"name": "f", "arguments": {}}
    value: dict[str, Any] = {
        "conversations": [
            {"from": "human", "value": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "developer", "content": [{"type": "text", "text": "x"}]},
        ]
    }
    read = read_row(value, "f").messages
    assert [(m.role, m.content) for m in read] == [
        ("user", "Hi"),
        ("assistant", ""),
        ("developer", "x"),
    ]
    assert read[1].extra == {"content": None, "tool_calls": [call]}
    written = format_named("sharegpt").write(Row(read))["conversations"]
    assert written[1:] == [
        {"from": "gpt", "value": "", "tool_calls": [call]},
        {"from": "developer", "value": "x"},
    ]
    assert format_named("openai").write(Row(read))["messages"][1:] == value["conversations"][1:]


@pytest.mark.parametrize("key", ["completion", "output", "answer"])
def test_other_names_of_an_answer(key: str) -> None:
    assert read_row({"prompt": "Hi", key: "Hello", "n": 1}, "f") == Row(
        tuple(turns("Hi", "Hello")), {"n": 1}
    )


@pytest.mark.parametrize("key", ["response", "completion", "output", "answer"])
def test_a_pair_of_messages(key: str) -> None:
    messages = SHAPES["messages"]
    assert read_row({"prompt": messages[:2], key: messages[2:], "n": 1}, "f") == Row(TALK, {"n": 1})
    assert read_row({"prompt": messages[:2], key: "Hello"}, "f") == Row(TALK)
    assert read_row({"system": "S", "prompt": "Hi", key: messages[2:]}, "f") == Row(TALK)
    assert read_row({"prompt": messages}, "f") == Row(TALK)


def test_a_prompt_alone() -> None:
    assert read_row({"prompt": "Hi"}, "f").messages == tuple(turns("Hi"))


def test_a_row_of_the_tulu_mixture() -> None:
    row = {"id": "x_1", "messages": SHAPES["messages"], "source": "ai2-adapt-dev/flan"}
    read = read_row(row, "f")
    assert read.rest == {"id": "x_1", "source": "ai2-adapt-dev/flan"}
    assert format_named("tulu").write(read) == row
    assert list(format_named("tulu").write(Row(TALK))) == ["id", "messages", "source"]


def test_tools_of_a_row() -> None:
    row = {"messages": SHAPES["messages"], "tools": [{"name": "f"}]}
    assert tools_of(read_row(row, "f")) == [{"name": "f"}]
    assert tools_of(read_row({**row, "tools": []}, "f")) is None


plain = conversations(texts).map(tuple)


@given(messages=plain, names=st.permutations(["messages", "openai", "tulu", "sharegpt"]))
@settings(deadline=None, max_examples=60)
def test_around_all_formats_and_back(messages: tuple[Message, ...], names: list[str]) -> None:
    row = Row(messages)
    for name in names:
        value = json.loads(json.dumps(format_named(name).write(row)))
        row = read_row(value, "f", name)
    assert row.messages == messages


WRONG: list[tuple[Any, str]] = [
    (5, "f is in no format that is known"),
    ({}, "in no format that is known"),
    ([], r"f has no message"),
    ({"messages": 5}, "f: messages must be an array"),
    ({"messages": [{"role": "user"}]}, r"f: messages\[0\]\.content is missing"),
    ({"conversations": 5}, "f: conversations must be an array"),
    ({"conversations": []}, "f has no message"),
    ({"conversations": [5]}, r"f: conversations\[0\] must be an object"),
    ({"conversations": [{"from": "dog", "value": ""}]}, r"conversations\[0\]\.from must be one of"),
    ({"conversations": [{"from": 5, "value": ""}]}, r"conversations\[0\]\.from must be one of"),
    ({"conversations": [{"role": "user"}]}, r"conversations\[0\]\.content is missing"),
    ({"conversations": [{"role": 5, "content": ""}]}, r"conversations\[0\]\.role must be a text"),
    ({"conversations": [{"from": "gpt"}]}, r"conversations\[0\]\.value must be a text"),
    ({"prompt": 5}, "f: prompt must be a text"),
    ({"prompt": [5]}, "f: prompt must be a text or an array of messages"),
    ({"prompt": []}, "f has no message"),
    ({"prompt": [{"role": "user"}]}, r"f: prompt\[0\]\.content is missing"),
    ({"prompt": "x", "completion": [{}]}, r"f: completion\[0\]\.role is missing"),
    ({"system": [], "prompt": "x"}, "f: system must be a text"),
    ({"prompt": "x", "response": None}, "f: response must be a text"),
]


@pytest.mark.parametrize(("value", "complaint"), WRONG)
def test_what_is_wrong_is_named_by_its_path(value: Any, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_row(value, "f")


def test_a_format_that_was_asked_for() -> None:
    with pytest.raises(BadInput, match="f is not in the format sharegpt: an object"):
        read_row(SHAPES["openai"], "f", "sharegpt")
    with pytest.raises(UsageError, match="choose from messages, openai, tulu, sharegpt, pairs"):
        read_row(SHAPES["openai"], "f", "alpaca")


@pytest.mark.parametrize("messages", [turns("a", "b", "c"), [Message("assistant", "a")], TALK[:1]])
def test_what_is_no_pair(messages: list[Message]) -> None:
    with pytest.raises(BadInput, match="more than a pair"):
        format_named("pairs").write(Row(tuple(messages)))


def read(data: bytes, name: str = "auto") -> list[tuple[str, Row]]:
    """Each row with its place."""
    return [
        (chunk.place(number), row)
        for chunk in read_chunks(io.BytesIO(data), "f")
        for number, row in chunk.rows(name)
    ]


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def test_lines_of_every_shape() -> None:
    data = b"".join(map(line, SHAPES.values()))
    assert [(place, row.messages) for place, row in read(data)] == [
        (f"f, line {number}", TALK) for number in range(1, 5)
    ]


def test_blank_lines_and_a_byte_order_mark_are_nothing() -> None:
    data = b"\n \r\n" + line(SHAPES["openai"]) + b"\n\n" + line(SHAPES["pairs"])[:-1]
    assert [place for place, _ in read(data)] == ["f, line 3", "f, line 6"]
    assert len(read(b"\xef\xbb\xbf" + line(SHAPES["messages"]))) == 1


@pytest.mark.parametrize("indent", [None, 2])
def test_one_document(indent: int | None) -> None:
    one = json.dumps(SHAPES["messages"], indent=indent).encode()
    assert [row.messages for _, row in read(one)] == [TALK]
    many = json.dumps([SHAPES["openai"], SHAPES["sharegpt"]], indent=indent).encode()
    assert [(place, row.messages) for place, row in read(many)] == [
        ("f, conversation 1", TALK),
        ("f, conversation 2", TALK),
    ]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "f is empty"),
        (b" \n\n", "f is empty"),
        (b"{", "f is not valid JSON: column 2"),
        (b"{oops}\n" + line(SHAPES["openai"]), "f, line 1 is not valid JSON: column 2"),
        (2 * line([SHAPES["openai"]]), "f goes on behind an array of conversations"),
        (b'{"messages":\n[oops]}', "f is not valid JSON: line 2, column 2"),
        (line(SHAPES["openai"]) + b"{oops}", "f, line 2 is not valid JSON: column 2"),
        (line(SHAPES["openai"]) + b"\xff", "f, line 2 is not UTF-8: byte 0 is 0xff"),
        (line(SHAPES["openai"]) + b"[]", "f, line 2 has no message"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "content has a lone surrogate"),
        (b'{"prompt": "\\uDFFF"}', "f, line 1: prompt has a lone surrogate"),
        (b'{"x": ' + b"[" * 200 + b"]" * 200 + b', "prompt": "a"}', "nested more than 100 levels"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_located(data: bytes, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read(data)


def test_a_long_file_is_read_in_pieces() -> None:
    count = 5000
    file = io.BytesIO(line({"prompt": "x" * 500}) * count)
    sizes = [len(chunk.lines) for chunk in read_chunks(file, "f")]
    assert sum(sizes) == count
    assert max(sizes) < 600


def test_a_line_of_ten_megabytes() -> None:
    ((_, row),) = read(line({"prompt": "é" * 10_000_000}))
    assert len(row.messages[0].content) == 10_000_000


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_bytes_give_rows_or_bad_input(data: bytes) -> None:
    try:
        read(data)
    except BadInput as error:
        assert str(error).startswith("f")


def test_a_chunk_has_its_numbers() -> None:
    chunk = Chunk("f", 1_000_000, [b"\n", line(SHAPES["pairs"])])
    assert [chunk.place(number) for number, _ in chunk.rows()] == ["f, line 1,000,001"]
    assert {one.name for one in FORMATS} >= SHAPES.keys()
