"""One whole conversation with the real demo model, on the transformers engine."""

from pathlib import Path

from tests.engines.loading import usage_of

from .conftest import OpenChat
from .stored import last, path, sessions
from .terminal import CTRL_C


def test_a_conversation(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--greedy", "--max-tokens", "150", engine="transformers")
    chat.until_prompt()
    chat.say("What is the capital of France? Answer in one short sentence.")
    chat.until("Paris")
    chat.until_prompt()
    chat.paste("Write a long story about a fox.\n\n\tIt has a brother.")
    chat.type("\r")
    chat.until("brother")
    chat.until(lambda: len(last(data).content) > 80)
    chat.type(CTRL_C)
    chat.until("Stopped after")
    partial = last(data).content
    chat.say("/continue")
    chat.until_prompt()
    chat.until(lambda: last(data).finish_reason in ("stop", "length"))
    chat.say("/undo")
    chat.until("the last is 2")
    chat.say("/stats")
    chat.until("this session  3 answers")
    chat.say("/redo")
    chat.until_prompt()
    chat.leave()

    assert [role for role, _ in path(data)] == ["user", "assistant"] * 2
    whole = last(data)
    assert whole.content.startswith(partial)
    assert len(whole.content) > len(partial)
    (session,) = sessions(data)
    assert whole.record
    assert whole.record.engine.engine == "transformers"
    assert whole.record.done
    assert usage_of(whole.record.done).cached_tokens > 0, "what was computed is kept between turns"
    assert [node.finish_reason for node in session.nodes.values() if node.record][1] == (
        "interrupted"
    )
