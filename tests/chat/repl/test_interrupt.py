"""Ctrl-C stops what is waited for; it never costs a turn, a partial answer or the conversation."""

import os
import signal
from pathlib import Path

import pytest

from .conftest import OpenChat
from .stored import last, path, sessions
from .terminal import CTRL_C

SLOW = ("--engine-arg", "delay=0.02")


def test_in_the_answer_it_keeps_the_partial(sized_chat: OpenChat, data: Path) -> None:
    chat = sized_chat(*SLOW)
    chat.until_prompt()
    chat.say("fake: words 500")
    chat.until("w9")
    chat.type(CTRL_C)
    chat.until("/continue")
    chat.leave()
    answer = last(data)
    assert answer.finish_reason == "interrupted"
    assert answer.content.startswith("w1 w2")
    assert "nterrupted" not in answer.content, "a field of the record, not text in the message"
    assert "w500" not in chat.text(), "what was pressed is answered before the words are over"


def test_continue_goes_on_where_it_stopped(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(*SLOW)
    chat.until_prompt()
    chat.say("fake: words 80")
    chat.until("w5")
    chat.type(CTRL_C)
    chat.until("Stopped")
    stopped = len(last(data).content)
    chat.say("/continue")
    chat.leave()
    turns = path(data)
    assert [role for role, _ in turns] == ["user", "assistant"], "no user's turn in between"
    # The fake engine says its words anew, so what it was given shows in where they begin.
    assert turns[-1][1][stopped:] == "w1 " + " ".join(f"w{n}" for n in range(2, 81))
    assert last(data).finish_reason == "stop"


def test_in_the_prefill_the_turn_survives(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say("fake: wait 600")
    chat.until("Reading")
    chat.type(CTRL_C)
    chat.until("Stopped after 0 tokens")
    chat.until_prompt()
    chat.say("fake: say next")
    chat.until("\nnext")
    chat.leave()
    assert path(data) == [("user", "fake: say next"), ("assistant", "next")]
    (session,) = sessions(data)
    assert next(node.content for node in session.nodes.values()) == "fake: wait 600"


def test_twice_is_as_harmless(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(*SLOW)
    chat.until_prompt()
    chat.say("fake: words 500")
    chat.until("w9")
    chat.type(CTRL_C + CTRL_C)
    chat.until("/continue")
    chat.until_prompt()
    chat.say("fake: say alive")
    chat.until("\nalive")
    chat.leave()
    assert last(data).content == "alive"


def test_a_burst_of_signals_while_it_stops(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(*SLOW)
    chat.until_prompt()
    chat.say("fake: words 500")
    chat.until("w9")
    for _ in range(20):
        chat.process.send_signal(signal.SIGINT)
    chat.until("/continue")
    chat.until_prompt()
    chat.say("fake: say alive")
    chat.until("\nalive")
    chat.leave()


def test_at_an_empty_prompt_it_hints_and_arms_nothing(sized_chat: OpenChat, data: Path) -> None:
    chat = sized_chat()
    chat.until_prompt()
    chat.type(CTRL_C)
    chat.until("Ctrl-D")
    chat.type(CTRL_C + CTRL_C)
    chat.until_silent()
    chat.until_prompt()
    chat.say("fake: say still here")
    chat.until("\nstill here")
    chat.leave()


def test_at_a_line_it_gives_the_line_up(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.type("never mind")
    chat.until("never mind")
    chat.type(CTRL_C)
    chat.until_prompt()
    chat.say("fake: say this one")
    chat.leave()
    assert path(data)[0] == ("user", "fake: say this one")


def test_type_ahead_survives_it(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(*SLOW)
    chat.until_prompt()
    chat.say("fake: words 500")
    chat.until("w9")
    chat.type("fake: say kept")
    chat.type(CTRL_C + "\r")
    chat.until("\nkept")
    chat.leave()
    assert path(data)[-2:] == [("user", "fake: say kept"), ("assistant", "kept")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_prompt_leaves_the_terminal_as_it_was(
    open_chat: OpenChat, number: signal.Signals
) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.process.send_signal(number)
    assert chat.exit_code() == 128 + number
    assert chat.attributes() == chat.before
    assert "Traceback" not in chat.text()


def test_a_stay_in_the_background_changes_nothing(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(*SLOW)
    chat.until_prompt()
    chat.say("fake: words 100")
    chat.until("w9")
    while_answering = chat.attributes()
    os.kill(chat.process.pid, signal.SIGSTOP)
    chat.set_attributes(chat.before)  # as a shell does that takes its terminal back
    os.kill(chat.process.pid, signal.SIGCONT)
    chat.until(lambda: chat.attributes() == while_answering)
    chat.say("fake: say ahead")
    chat.until("\nahead")
    assert chat.text().count("fake: say ahead") == 1
    chat.leave()
    assert path(data)[1][1].endswith("w100")


def test_leaving_leaves_the_terminal_as_it_was(open_chat: OpenChat) -> None:
    chat = open_chat()
    chat.until_prompt()
    assert chat.attributes() != chat.before
    chat.say("fake: say one")
    chat.until("\none")
    chat.leave()
    assert chat.attributes() == chat.before


def test_sigterm_keeps_the_partial_too(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(*SLOW)
    chat.until_prompt()
    chat.say("fake: words 500")
    chat.until("w9")
    chat.process.terminate()
    assert chat.exit_code() == 143
    assert chat.attributes() == chat.before
    assert last(data).content.startswith("w1 w2 w3")
    assert last(data).finish_reason == "interrupted"
