"""The tree: every answer and every turn stays, and one can go back to each."""

from pathlib import Path

from .conftest import OpenChat
from .stored import path, sessions
from .terminal import ENTER


def test_retry_keeps_the_old_answer_and_switch_goes_back(sized_chat: OpenChat, data: Path) -> None:
    chat = sized_chat("--seed", "7")
    chat.until_prompt()
    chat.say("fake: say one")
    chat.until("\none")
    chat.say("/retry 2")
    chat.until(lambda: chat.text().count("\none") == 3)
    chat.say("/switch 2")
    chat.until("2 turns, the last")
    chat.say("/tree")
    chat.until("* 2 assistant")
    chat.leave()
    (session,) = sessions(data)
    turn, *answers = session.nodes.values()
    assert {answer.parent for answer in answers} == {turn.id}
    assert session.head == answers[0].id
    seeds = [answer.record.sampling.seed for answer in answers if answer.record]
    assert seeds == [7, 8, 9], "the same seed would give the same answer again"


def test_edit_branches_from_before_the_turn(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    for word in ("one", "two"):
        chat.say(f"fake: say {word}")
        chat.until(f"\n{word}")
    chat.say("/edit 1")
    chat.until("Editing turn 1")
    chat.until("> fake: say one")
    chat.type("!" + ENTER)
    chat.until("\none!")
    chat.leave()
    assert path(data) == [("user", "fake: say one!"), ("assistant", "one!")]
    (session,) = sessions(data)
    assert len(session.nodes) == 6


def test_undo_and_redo(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    for word in ("one", "two"):
        chat.say(f"fake: say {word}")
        chat.until(f"\n{word}")
    chat.say("/undo")
    chat.until("the last is 2: one")
    chat.say("/redo")
    chat.until("the last is 4: two")
    chat.say("/redo")
    chat.until("nothing to redo")
    chat.leave()
    assert len(path(data)) == 4


def test_fork_goes_on_beside_the_session(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--session", "trunk")
    chat.until_prompt()
    chat.say("fake: say one")
    chat.until("\none")
    chat.say("/fork branch")
    chat.until("session branch")
    chat.say("fake: say two")
    chat.until("\ntwo")
    chat.say("/load trunk")
    chat.until("Session trunk, 2 turns")
    chat.say("fake: say three")
    chat.until("\nthree")
    chat.leave()
    said = {one.name: [node.content for node in one.path()][1::2] for one in sessions(data)}
    assert said == {"trunk": ["one", "three"], "branch": ["one", "two"]}


def test_a_named_session_and_an_id_are_found_again(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--session", "work")
    chat.until_prompt()
    chat.say("fake: say one")
    chat.leave()
    again = open_chat("--session", "work")
    again.until("Session work, 2 turns")
    again.leave()
    (session,) = sessions(data)
    by_id = open_chat("--resume", session.id[:5])
    by_id.until("Session work, 2 turns")
    by_id.leave()
