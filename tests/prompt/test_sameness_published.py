"""Published templates of other families give what transformers' apply_chat_template gives."""

from typing import Any

import jinja2
import pytest

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt import encode_chat, render_chat

from .pairs import Pair, turns
from .published import NAMES
from .test_sameness import ODD, SYSTEM

CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city & its <b>degrees</b>.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALLED = [
    Message("user", "Weather?"),
    Message("assistant", "", {"tool_calls": [CALL]}),
    Message("tool", '{"degrees": 21}', {"name": "weather", "tool_call_id": "1"}),
]
CORPUS = {
    **ODD,
    "system": SYSTEM,
    "only system": SYSTEM[:1],
    "system in the middle": [*turns("Hi", "Hello"), Message("system", "Be brief."), *turns("Bye")],
    "two questions": [*turns("Hi"), *turns("Hello?")],
    "assistant first": [Message("assistant", "Hello"), *turns("Hi", "Bye")],
    "tool call": CALLED,
    "thoughts": turns("Why?", "<think>\nHm.\n</think>\n\nSo.", "And?", "<think></think>x", "Ah"),
    "unknown role": [Message("critic", "No."), *turns("Hi")],
}


def outcome(render: Any) -> Any:
    """What is rendered, or that it was refused."""
    try:
        return render()
    except (BadInput, jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError):
        return "refused"


def assert_same(pair: Pair, conversation: list[Message], **options: Any) -> bool:
    """Both refuse, or text and ids are the same; whether it was rendered."""
    theirs = outcome(lambda: pair.reference(conversation, **options))
    assert outcome(lambda: render_chat(pair.ours, conversation, **options)) == (
        theirs if theirs == "refused" else theirs[0]
    )
    if theirs == "refused":
        return False
    assert encode_chat(pair.ours, conversation, **options) == theirs[1]
    return True


@pytest.mark.parametrize("kind", ["tulu", "demo"])
@pytest.mark.parametrize("name", NAMES)
def test_same_as_transformers(
    pairs: dict[str, Pair], templates: dict[str, str], name: str, kind: str
) -> None:
    options: dict[str, Any] = {"template": templates[name]}
    rendered = [
        assert_same(pairs[kind], conversation, add_generation_prompt=asked, **options)
        for conversation in CORPUS.values()
        for asked in (True, False)
    ]
    assert any(rendered)
    assert_same(pairs[kind], CALLED, tools=TOOLS, **options)
