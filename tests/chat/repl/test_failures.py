"""Whatever fails is one sentence; the turn and the conversation survive it."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from .conftest import OpenChat
from .stored import last, path, sessions
from .terminal import CTRL_C


@pytest.mark.parametrize("verb", ["fail", "die"])
def test_an_engine_that_fails_is_asked_again(sized_chat: OpenChat, data: Path, verb: str) -> None:
    chat = sized_chat()
    chat.until_prompt()
    chat.say(f"fake: {verb} 6")
    chat.until("as it was told")
    chat.until_prompt()
    assert "Traceback" not in chat.text()
    assert last(data).finish_reason == "error"
    assert last(data).content.startswith("w1")
    chat.say("/retry")
    chat.until("recovered")
    chat.leave()
    (session,) = sessions(data)
    turn, failed, answer = session.nodes.values()
    assert failed.parent == answer.parent == turn.id
    assert answer.content.endswith("recovered")


def test_an_engine_that_fails_at_once_leaves_no_empty_turn(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say("fake: fail 0")
    chat.until("as it was told")
    chat.say("fake: say fine")
    chat.until("\nfine")
    chat.leave()
    assert path(data) == [("user", "fake: say fine"), ("assistant", "fine")]


def test_kill_9_in_an_answer_loses_no_turn(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--engine-arg", "delay=0.01")
    chat.until_prompt()
    chat.say("fake: say first")
    chat.until("\nfirst")
    chat.until_prompt()
    chat.say("fake: words 900")
    chat.until("w30")
    chat.until(lambda: "w30" in last(data).content)
    os.kill(chat.process.pid, signal.SIGKILL)
    chat.exit_code()
    kept = last(data)
    assert kept.finish_reason == "interrupted"
    assert "w30" in kept.content

    again = open_chat("--continue")
    again.until("Its last answer was cut")
    again.until_prompt()
    again.say("fake: say after")
    again.until("\nafter")
    again.leave()
    assert [content for role, content in path(data) if role == "user"] == [
        "fake: say first",
        "fake: words 900",
        "fake: say after",
    ]


def test_two_terminals_at_once_lose_nothing(open_chat: OpenChat, data: Path) -> None:
    one, other = open_chat(), open_chat()
    for chat, word in ((one, "one"), (other, "other")):
        chat.until_prompt()
        chat.say(f"fake: say {word}")
    for chat, word in ((one, "one"), (other, "other")):
        chat.until(f"\n{word}")
        chat.leave()
    answers = {node.content for s in sessions(data) for node in s.path() if node.record}
    assert answers == {"one", "other"}


def test_a_disk_that_takes_nothing_is_said_and_the_chat_goes_on(
    open_chat: OpenChat, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    chat = open_chat(TULU_DATA_DIR=str(blocked))
    chat.until("kept in memory")
    chat.until_prompt()
    chat.say("fake: say anyway")
    chat.until("\nanyway")
    chat.say("/tree")
    chat.until("* 2 assistant")
    chat.leave()


def test_a_history_that_another_program_holds_is_waited_for_until_ctrl_c(
    open_chat: OpenChat, data: Path
) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say("fake: say first")
    chat.until("\nfirst")
    chat.until_prompt()
    with closing(sqlite3.connect(data / "chats" / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        chat.say("fake: say never")
        chat.until("waiting for the history, which another program holds")
        chat.type(CTRL_C)
        chat.until("database is locked")
        chat.until("kept in memory until it can be written again")
        chat.until_prompt()
        chat.say("fake: say second")
        chat.until("\nsecond")
        chat.until_prompt()
    chat.say("fake: say third")
    chat.until("can be written again, and has all that was waiting")
    chat.until("\nthird")
    chat.leave()
    (session,) = sessions(data)
    asked = [node.content[10:] for node in session.nodes.values() if node.role == "user"]
    assert asked == ["first", "never", "second", "third"]
    assert [text for _, text in path(data)[1::2]] == ["first", "second", "third"]


def test_incognito_writes_nothing(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--incognito")
    chat.until_prompt()
    chat.say("fake: say secret")
    chat.until("\nsecret")
    chat.leave()
    assert not data.exists()


def test_a_resize_in_the_middle_harms_nothing(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--engine-arg", "delay=0.01")
    chat.until_prompt()
    chat.say("fake: words 80")
    chat.until("w9")
    chat.resize(40, 12)
    chat.until("w40")
    chat.resize(100, 30)
    chat.until("w80")
    chat.until_prompt()
    chat.say("fake: say done")
    chat.until("\ndone")
    chat.leave()
    assert path(data)[1][1] == " ".join(f"w{number}" for number in range(1, 81))


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say("/model no-such-model")
    chat.until("is not a model")
    chat.until_prompt()
    chat.say("fake: say still me")
    chat.until("\nstill me")
    chat.leave()


def test_hostile_output_commands_nothing(open_chat: OpenChat, data: Path) -> None:
    hostile = "\x1b]52;c;aGk=\x07\x1b[2J\x9b6n\u202e"
    chat = open_chat()
    chat.until_prompt()
    chat.paste(f"fake: say {hostile}")
    chat.type("\r")
    chat.until("␛]52;c;aGk=␇")
    chat.leave()
    assert b"\x1b]52" not in chat.sent
    assert b"\x1b[2J" not in chat.sent
    assert "\x9b".encode() not in chat.sent
    assert path(data)[1] == ("assistant", hostile), "kept and sent back as it was"


def test_ctrl_z_comes_back(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.type(CTRL_C)
    chat.until("Ctrl-D")
    os.kill(chat.process.pid, signal.SIGTSTP)
    os.kill(chat.process.pid, signal.SIGCONT)
    chat.until_prompt()
    chat.say("fake: say back")
    chat.until("\nback")
    chat.leave()
