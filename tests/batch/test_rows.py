"""What each kind of record asks."""

import json
from typing import Any

import pytest

from tulu_cli.batch.lines import Line, digest
from tulu_cli.batch.rows import BadRow, Row, read_row, read_template
from tulu_cli.core import Constraint, Message
from tulu_cli.errors import UsageError

USER = Message("user", "hi")


def row_of(value: Any, kind: str = "auto", template: str | None = None) -> Row | BadRow:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    made = None if template is None else read_template(template)
    return read_row(Line(7, data, digest(data)), kind, made)


def asked(value: Any, **options: Any) -> Row:
    row = row_of(value, **options)
    assert isinstance(row, Row), row.error
    return row


def refused(value: Any, **options: Any) -> str:
    row = row_of(value, **options)
    assert isinstance(row, BadRow)
    return str(row.error)


@pytest.mark.parametrize(
    ("value", "prompt"),
    [
        ({"prompt": "hi"}, (USER,)),
        ({"prompt": "hi", "system": "be brief"}, (Message("system", "be brief"), USER)),
        ({"prompt": [{"role": "user", "content": "hi"}]}, (USER,)),
        ({"text": "hi"}, "hi"),
        ({"messages": [{"role": "user", "content": "hi"}]}, (USER,)),
        ([{"role": "user", "content": "hi"}], (USER,)),
        ({"conversations": [{"from": "human", "value": "hi"}]}, (USER,)),
        ({"conversations": [{"role": "user", "content": "hi"}]}, (USER,)),
    ],
    ids=str,
)
def test_each_shape_is_recognised(value: Any, prompt: Any) -> None:
    assert asked(value).prompt == prompt


def test_other_columns_are_carried_and_the_sampling_is_the_rows_own() -> None:
    row = asked({"id": 3, "prompt": "hi", "title": "x", "sampling": {"max_tokens": 5}, "n": 2})
    assert (row.line, row.id) == (7, "3")
    assert row.columns == {"title": "x", "n": 2}
    assert row.sampling == {"max_tokens": 5}


def test_a_template_makes_the_prompt_of_columns() -> None:
    row = asked({"a": "x{b}", "b": 2, "system": "s"}, template="{{{a}}} and {b}!")
    assert row.prompt == (Message("system", "s"), Message("user", "{x{b}} and 2!"))
    assert row.columns == {"a": "x{b}", "b": 2}


@pytest.mark.parametrize(
    ("row", "said"),
    [({"b": "x"}, "has no column 'a'"), ({"a": ["x"]}, "has no text in the column 'a'")],
)
def test_a_column_that_is_not_there_is_an_error_of_the_row(row: Any, said: str) -> None:
    assert said in refused(row, template="{a}")


@pytest.mark.parametrize("text", ["no column", "{", "}", "{}", "{a!r}", "{a:>5}", ""])
def test_a_template_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--template"):
        read_template(text)


def test_a_template_reaches_into_nothing() -> None:
    made = read_template("{a.__class__} {a[0]}")
    assert made.fill({"a.__class__": "1", "a[0]": "2"}, "x") == "1 2"


def openai(**body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"custom_id": "c", "url": "/v1/chat/completions", "body": {"messages": messages, **body}}


def test_a_request_of_openais_batch_format() -> None:
    made = {
        "model": "m",
        "max_completion_tokens": 5,
        "temperature": 0,
        "stop": "x",
        "frequency_penalty": 0.5,
        "presence_penalty": None,
        "logit_bias": {"5": 1},
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}},
    }
    row = asked(openai(**made))
    assert (row.id, row.prompt, row.url) == ("c", (USER,), "/v1/chat/completions")
    assert row.sampling == {
        "max_tokens": 5,
        "temperature": 0,
        "stop": "x",
        "frequency_penalty": 0.5,
        "logit_bias": {"5": 1},
        "constraint": Constraint("json_schema", '{"type": "array"}'),
    }


def test_tools_of_a_row_are_for_its_prompt_and_carried() -> None:
    value = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"name": "f"}]}
    row = asked(value)
    assert (row.tools, row.columns) == (value["tools"], {"tools": value["tools"]})
    assert asked({**value, "tools": []}).tools is None
    assert asked({"prompt": "hi", "tools": "saw"}).tools is None


def test_variables_for_the_chat_template() -> None:
    row = asked(openai(chat_template_kwargs={"enable_thinking": False}))
    assert (row.kwargs, row.sampling) == ({"enable_thinking": False}, {})
    assert asked(openai(chat_template_kwargs=None)).kwargs == {}


def test_a_plain_completion_of_openais_batch_format() -> None:
    value = {"custom_id": "c", "url": "/v1/completions", "body": {"prompt": "once", "n": 2}}
    row = asked(value)
    assert (row.prompt, row.sampling) == ("once", {"n": 2})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"{", "line 7 is not valid JSON: column 2"),
        (b"\xff", "line 7 is not UTF-8: byte 0"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"prompt": "\\ud800"}', "lone surrogate"),
        (3, "must be a JSON object"),
        ([{"prompt": "hi"}], "is an array of records: give each of them a line"),
        ({}, "asks nothing"),
        ({"prompt": 3}, "prompt must be a text"),
        ({"prompt": ["hi"]}, "prompt must be a text or an array of messages"),
        ({"prompt": []}, "is empty"),
        ({"prompt": "hi", "system": 3}, "system must be a text"),
        ({"prompt": "hi", "sampling": 3}, "sampling must be an object"),
        ({"text": ""}, "is empty"),
        ({"messages": []}, "no message"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "ends with an answer"),
        (
            {"messages": [{"role": "user", "content": "x"}], "continue_final_message": True},
            "has no message of the assistant's at its end to continue",
        ),
        ({"text": "x", "continue_final_message": True}, "has no message of the assistant's"),
        ({"prompt": "x", "continue_final_message": 1}, "must be true or false"),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing"),
        ({"custom_id": "c", "body": 3}, "body must be an object"),
        ({"custom_id": "c", "body": {}, "url": "/v1/embeddings"}, "url must be"),
        (openai(chat_template_kwargs=[1]), "body.chat_template_kwargs must be an object"),
        (openai(chat_template_kwargs={"tools": []}), "chat_template_kwargs cannot set tools"),
        (
            {
                "custom_id": "c",
                "url": "/v1/completions",
                "body": {"prompt": "x", "chat_template_kwargs": {"a": 1}},
            },
            "a plain text has no chat template",
        ),
        (openai(tools=[{}]), "body.tools is not supported"),
        (openai(min_tokens=5), "body.min_tokens is not supported"),
        (openai(response_format={"type": "xml"}), "response_format must be"),
        ({"custom_id": "c", "url": "/v1/completions", "body": {"prompt": [1]}}, "must be a text"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_answered_says_why_and_where(value: Any, said: str) -> None:
    error = refused(value)
    assert "line 7" in error
    assert said in error


def test_a_line_that_was_too_long_is_one_error() -> None:
    row = read_row(Line(7, None, 5))
    assert isinstance(row, BadRow)
    assert str(row.error) == "line 7 is longer than 64 MiB."


def test_a_bad_row_keeps_its_name() -> None:
    row = row_of({"custom_id": "c", "body": {"messages": 3}})
    assert isinstance(row, BadRow)
    assert row.id == "c"


@pytest.mark.parametrize("kind", ["messages", "sharegpt", "openai", "text"])
def test_a_format_that_was_named_is_the_only_one(kind: str) -> None:
    assert f"the format {kind}" in refused({"prompt": "hi"}, kind=kind)
