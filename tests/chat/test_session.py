"""The tree of a conversation: what each operation does to the path, and that nothing is lost."""

import pytest

from tests.chat.sessions import RECORD, answered, chat, done, empty, said, stamp
from tulu_cli.chat.session import Session
from tulu_cli.core import Message
from tulu_cli.errors import UsageError


def texts(session: Session, parent: str | None) -> list[str]:
    return [node.content for node in session.children(parent)]


def test_a_conversation_is_the_path_behind_the_system_prompt() -> None:
    session = chat("one", "1", "two", system="Count.")
    roles = [(message.role, message.content) for message in session.conversation()]
    assert roles == [("system", "Count."), ("user", "one"), ("assistant", "1"), ("user", "two")]
    assert [message.role for message in chat("x").conversation()] == ["user"]
    assert empty().conversation() == ()


def test_a_retry_keeps_the_answer_beside_the_new_one() -> None:
    first = chat("one", "1")
    second = answered(first, "I")
    assert said(first) == ["one", "1"]
    assert said(second) == ["one", "I"]
    assert texts(second, second.path()[0].id) == ["1", "I"]


def test_an_answer_begun_is_interrupted_until_it_has_its_end() -> None:
    session = chat("one").answer(RECORD, stamp())
    answer = session.head or ""
    assert session.nodes[answer].finish_reason == "interrupted"
    assert session.nodes[answer].is_void
    session = session.extend(answer, "par")
    assert (session.nodes[answer].is_partial, session.nodes[answer].is_void) == (True, False)
    session = session.extend(answer, "tial", done("length"))
    node = session.nodes[answer]
    assert (node.content, node.finish_reason, node.is_partial) == ("partial", "length", False)


def test_a_thought_grows_beside_its_answer() -> None:
    session = chat("one").answer(RECORD, stamp())
    answer = session.head or ""
    session = session.extend(answer, "", thought="Let me ").extend(answer, "", thought="see.")
    node = session.nodes[answer]
    assert (node.thought, node.content, node.is_void) == ("Let me see.", "", True)
    assert node.message.as_dict()["reasoning_content"] == "Let me see."
    cut = session.extend(answer, "", done("length"))
    assert cut.nodes[answer].is_void  # and so the next question is beside it
    assert said(cut.ask("two", stamp())) == ["two"]
    session = session.extend(answer, "1", done())
    assert said(session.ask("two", stamp())) == ["one", "1", "two"]
    assert session.resume(RECORD, stamp()).path()[-1].thought == "Let me see."


def test_to_continue_is_a_copy_that_goes_on() -> None:
    cut = answered(chat("one"), "It is", "interrupted")
    session = cut.resume(RECORD, stamp())
    record = session.nodes[session.head or ""].record
    assert record is not None
    assert (record.start, record.done) == (5, None)
    session = session.extend(session.head or "", " so.", done())
    assert said(session) == ["one", "It is so."]
    assert session.nodes[cut.head or ""] == cut.nodes[cut.head or ""]


def test_an_edited_turn_is_a_branch() -> None:
    session = chat("one", "1", "two", "2")
    edited = session.edit(session.numbered(3).id, "three", stamp())
    assert said(edited) == ["one", "1", "three"]
    assert texts(edited, session.numbered(2).id) == ["two", "three"]
    root = edited.edit(session.numbered(1).id, "zero", stamp())
    assert said(root) == ["zero"]
    assert texts(root, None) == ["one", "zero"]
    answer = root.edit(session.numbered(2).id, "ONE", stamp())
    assert said(answer) == ["one", "ONE"]
    assert answer.nodes[answer.head or ""].finish_reason is None, "nobody generated it"


@pytest.mark.parametrize("reason", ["error", "interrupted"])
def test_a_turn_without_an_answer_is_not_before_the_next_one(reason: str) -> None:
    unanswered = chat("one", "1", "lost")
    void = answered(unanswered, "", reason)  # type: ignore[arg-type]
    for session in (unanswered, void):
        assert said(session.ask("two", stamp())) == ["one", "1", "two"]
        assert "lost" in [node.content for node in session.ask("two", stamp()).nodes.values()]
    assert said(answered(void, "2")) == ["one", "1", "lost", "2"], "but it can be tried again"


def test_an_empty_answer_of_the_model_is_an_answer() -> None:
    assert said(chat("one", "", "two")) == ["one", "", "two"]


def test_undo_and_redo() -> None:
    session = chat("one", "1", "two", "2")
    once = session.undo()
    twice = once.undo()
    assert (said(once), said(twice)) == (["one", "1"], [])
    assert twice.redo() == once
    assert twice.redo().redo() == session
    with pytest.raises(UsageError, match="nothing to undo"):
        twice.undo()
    with pytest.raises(UsageError, match="nothing to redo"):
        session.redo()
    with pytest.raises(UsageError, match="nothing to redo"):
        once.ask("three", stamp()).redo()


def test_switch_goes_to_the_newest_end_of_a_branch() -> None:
    session = chat("one", "1", "two", "2")
    other = answered(session.edit(session.numbered(1).id, "uno", stamp()), "1!")
    assert said(other.switch(session.numbered(2).id)) == ["one", "1", "two", "2"]
    assert said(other.switch(other.numbered(5).id)) == ["uno", "1!"]


def test_a_fork_is_a_session_of_its_own() -> None:
    session = answered(chat("one", "1", system="Count."), "I")
    fork = session.fork("roman", stamp())
    assert fork.id != session.id
    assert (fork.name, fork.system, said(fork)) == ("roman", "Count.", ["one", "I"])
    assert len(fork.nodes) == 2
    assert said(answered(fork.ask("two", stamp()), "II")) == ["one", "I", "two", "II"]


def test_what_has_nothing_before_it() -> None:
    with pytest.raises(UsageError, match="nothing to answer"):
        empty().answer(RECORD, stamp())
    with pytest.raises(UsageError, match="no answer to continue"):
        chat("one").resume(RECORD, stamp())
    with pytest.raises(UsageError, match="no turn 3: they go from 1 to 2"):
        chat("one", "1").numbered(3)
    with pytest.raises(UsageError, match="no turn 1: nothing was said"):
        empty().numbered(1)


def test_numbers_are_the_order_in_which_turns_came() -> None:
    session = answered(chat("one", "1"), "I")
    assert [session.numbered(number).content for number in (1, 2, 3)] == ["one", "1", "I"]
    assert session.number(session.head or "") == 3


def test_messages_from_elsewhere_keep_their_roles_and_keys() -> None:
    call = Message("assistant", "", {"tool_calls": [{"id": "1"}]})
    session = chat("one").add(call, stamp()).add(Message("tool", "42"), stamp())
    assert session.conversation()[1:] == (call, Message("tool", "42"))
    assert said(answered(session, "It is 42.")) == ["one", "", "42", "It is 42."]
    assert said(session.ask("two", stamp())) == ["one", "", "42", "two"]
