"""A conversation on its way to a warm engine, which makes the prompt of it."""

import json
from typing import Any

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.prompt.inspect.formats import read_messages
from tulu_cli.protocol.prompts import chat_body, read_chat_body

GIVEN: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"content": [{"type": "text", "text": "é"}], "role": "user", "name": "A"},
    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
]


def test_messages_arrive_as_they_were_written() -> None:
    messages = read_messages(GIVEN, "messages", "test")
    body = json.loads(
        json.dumps(chat_body(messages, {"enable_thinking": False}, strict_roles=True))
    )
    arrived, variables, switches = read_chat_body(body)
    assert tuple(arrived) == messages
    assert [list(message.as_dict().items()) for message in arrived] == [
        list(message.items()) for message in GIVEN
    ]
    assert variables == {"enable_thinking": False}
    assert switches == {"continue_final": False, "allow_special": False, "strict_roles": True}


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ("x", "must be an object"),
        ({"role": "user"}, "content must be a text"),
        ({"role": "user", "content": "x", "extra": []}, "extra must be an object"),
        ({"role": "user", "content": "x", "keys": "role"}, "keys must be a list of texts"),
        ({"role": "user", "content": "x", "keys": [1]}, "keys must be a list of texts"),
        ({"role": "user", "content": "x", "other": 1}, "other is unknown"),
    ],
)
def test_what_is_no_message(told: Any, problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        read_chat_body({"conversation": [told]})
