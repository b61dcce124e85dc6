"""Exports: what each format looks like, and that what it holds comes back byte by byte."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.sessions import RECORD, answered, chat, empty, stamp
from tulu_cli.chat.export import FORMATS, Format, format_named, format_of, losses
from tulu_cli.chat.session import Session, session_of
from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput, UsageError

NAMES = [form.name for form in FORMATS]
HARD = [
    "",
    "\n",
    " \n\n ",
    "## user",
    "\\## user",
    "\n## user\n\n## assistant\n",
    "\\\\## a\n## b",
    "## user\r\n## user",
    "```\n## system\n```",
    "</script><script>alert(1)</script><!-- ",
    '<img src=x onerror="x">&amp;',
    "NUL \0 ESC \x1b[2J \x9b BEL \x07",
    "\r\n and \r and \u2028 and \x85 and \x0c",
    "\ufeffBOM",
    "👩‍👩‍👧 天空 e\u0301 \U0010ffff",
    "{'json': \"no\"}",
]


def back(form: Format, session: Session) -> Conversation:
    """What a session's messages are after a way out and in."""
    (read,) = form.read(form.write([session]).encode(), "file")
    return read.conversation()


@pytest.mark.parametrize("form", FORMATS, ids=NAMES)
@pytest.mark.parametrize("text", HARD, ids=ascii)
def test_hard_texts_come_back_as_they_were(form: Format, text: str) -> None:
    for session in (chat(text), chat(text, text, text, system=text), chat("x", text)):
        assert back(form, session) == session.conversation()


@pytest.mark.parametrize("form", FORMATS, ids=NAMES)
@given(st.lists(st.text("#\\ users\n\r`<>&\0ü", max_size=20) | st.text(), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_texts_come_back_as_they_were(form: Format, texts: list[str]) -> None:
    session = chat(*texts)
    assert back(form, session) == session.conversation()


@pytest.mark.parametrize("form", FORMATS, ids=NAMES)
def test_a_message_of_10_mb(form: Format) -> None:
    session = chat("## user\nab <cd>\n" * 620_000)
    assert back(form, session) == session.conversation()


@pytest.mark.parametrize("name", ["jsonl", "sharegpt", "tulu"])
def test_several_sessions_in_one_file(name: str) -> None:
    form = format_named(name)
    sessions = [chat("one", "1"), chat("two\n", system="s"), chat("three")]
    read = form.read(form.write(sessions).encode(), "file")
    assert [one.conversation() for one in read] == [one.conversation() for one in sessions]


def test_what_the_formats_look_like() -> None:
    session = replace(chat("Why?\n## user", "So.", system="Be brief."), id="abc")
    written = {form.name: form.write([session]) for form in FORMATS}
    assert written["markdown"] == (
        "## system\n\nBe brief.\n\n## user\n\nWhy?\n\\## user\n\n## assistant\n\nSo.\n"
    )
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?\n## user"},
        {"role": "assistant", "content": "So."},
    ]
    assert json.loads(written["jsonl"]) == {"id": "abc", "messages": messages, "source": "tulu"}
    assert written["jsonl"].count("\n") == 1
    assert json.loads(written["openai"]) == {"messages": messages}
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Why?\n## user"},
        {"from": "gpt", "value": "So."},
    ]
    assert json.loads(written["sharegpt"]) == [{"id": "abc", "conversations": turns}]


def test_our_own_format_holds_everything() -> None:
    form = format_named("tulu")
    session = answered(chat("one", "1", "two", "2", name="n", system="s"), "II", "length")
    session = session.add(Message("tool", "42", {"call": {"deep": [1, None]}}), stamp())
    session = session.undo().answer(RECORD, stamp())
    assert form.read(form.write([session]).encode(), "file") == [session]
    assert losses(session, form) == {}


def test_what_is_lost_is_named() -> None:
    session = answered(chat("one", "1"), "I").add(Message("tool", "", {"id": 1}), stamp())
    lost = {"turns of other branches": 1, "records of how answers were made": 1}
    assert losses(session, format_named("jsonl")) == lost
    lost["messages with other keys"] = 1
    assert losses(session, format_named("markdown")) == lost
    assert losses(session_of((Message("user", "x"),)), format_named("markdown")) == {}


def test_other_keys_of_a_message_stay_where_they_can() -> None:
    call = Message("assistant", "", {"tool_calls": [{"id": "1", "type": "function"}]})
    session = chat("one").add(call, stamp()).add(Message("tool", "4", {"id": "1"}), stamp())
    for name in ("jsonl", "openai", "sharegpt", "html", "tulu"):
        assert back(format_named(name), session) == session.conversation()


def test_the_shapes_of_other_programs_are_read() -> None:
    turns = [{"from": "human", "value": "2 + 2?"}, {"from": "observation", "value": "4"}]
    for value in ({"conversations": turns}, [{"conversations": turns, "id": 7}]):
        (session,) = format_named("sharegpt").read(json.dumps(value).encode(), "file")
        assert session.conversation() == (Message("user", "2 + 2?"), Message("tool", "4"))
    (session,) = format_named("jsonl").read(b'{"prompt": "a", "response": "b"}', "file")
    assert session.conversation() == (Message("user", "a"), Message("assistant", "b"))


def test_a_system_message_with_keys_or_later_on_is_a_turn() -> None:
    messages = (Message("system", "a", {"k": 1}), Message("user", "b"), Message("system", "c"))
    session = session_of(messages)
    assert (session.system, session.conversation()) == (None, messages)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "file is empty"),
        ("{", "file is not valid JSON: line 1, column 2"),
        ("[]", "file has no message: the array is empty"),
        ("3", "file is in no format that is known. They are: messages: an array"),
        ('{"messages": []}\n{"messages"', "file line 1 has no message"),
        ('[{"role": "user", "content": "x"}]\n{"messages"', "file line 2 is not valid JSON"),
        ('[{"messages": [{"role": "user"}]}]', "file [0]: messages[0].content is missing"),
        ('{"conversations": 1}', "file: conversations must be an array"),
        ('{"conversations": [{"from": "gpt"}]}', "file: conversations[0].value must be a text"),
        ('{"conversations": [{"from": "x"}]}', "conversations[0].from must be one of human, user"),
        ('[{"role": "user", "content": "\\ud800"}]', "has a lone surrogate"),
        ('{"conversations": [{"from": "gpt", "value": "\\ud800"}]}', "has a lone surrogate"),
        ("[" * 100_000, "nested too deeply"),
        ('{"messages":' * 900 + "1" + "}" * 900, "is nested more than 100 levels deep"),
        ('{"tulu_session": 2}', "file is of a newer tulu: tulu_session 2"),
        ('{"tulu_session": 1}', "file is not a session of tulu: KeyError 'nodes'"),
    ],
)  # fmt: skip
def test_json_that_is_no_conversation(text: str, complaint: str) -> None:
    with pytest.raises(BadInput) as caught:
        format_named("jsonl").read(text.encode(), "file")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["nodes"].reverse(),
        lambda value: value.update(head="nobody"),
        lambda value: value.update(undone=["nobody"]),
        lambda value: value.update(created=1e300),
        lambda value: value["nodes"][0].update(created=float("nan")),
        lambda value: value.update(system=7),
        lambda value: value.update(system="\ud800"),
        lambda value: value["nodes"][0].update(content=None),
        lambda value: value["nodes"][0].update(parent=value["nodes"][1]["id"]),
        lambda value: value["nodes"][1]["record"].pop("engine"),
        lambda value: value["nodes"][1]["record"].update(sampling=[]),
        lambda value: value.update(nodes=7),
    ],
)
def test_a_dump_that_is_no_tree_is_refused(change: object) -> None:
    form = format_named("tulu")
    (value,) = json.loads(form.write([chat("one", "1")]))
    assert callable(change)
    change(value)
    with pytest.raises(BadInput, match="not a session of tulu"):
        form.read(json.dumps(value).encode(), "file")


@pytest.mark.parametrize("name", ["markdown", "html"])
def test_a_text_without_a_conversation(name: str) -> None:
    for data in (b"", b"# hello\n", b"<script>x</script>"):
        with pytest.raises(BadInput, match=r"file (has no turn|is not a page)"):
            format_named(name).read(data, "file")
    with pytest.raises(BadInput, match="file is not UTF-8: byte 1"):
        format_named(name).read(b"x\xff", "file")


def test_markdown_that_a_person_wrote() -> None:
    text = "# My chat\n\nNotes.\n\n## user\nHello\n## assistant\n\nHi\n\nthere"
    (session,) = format_named("markdown").read(text.encode(), "file")
    assert session.conversation() == (Message("user", "Hello"), Message("assistant", "Hi\n\nthere"))


def test_a_role_that_markdown_cannot_hold() -> None:
    session = empty().add(Message("the user", "x"), stamp())
    with pytest.raises(UsageError, match="Markdown cannot hold the role 'the user'"):
        format_named("markdown").write([session])
    assert back(format_named("html"), session) == session.conversation()


def test_a_file_name_says_the_format() -> None:
    names = {"a.md": "markdown", "a.MARKDOWN": "markdown", "b.jsonl": "jsonl", "c.json": "openai",
             "d.htm": "html", "e": "tulu", "f.txt": "tulu"}  # fmt: skip
    assert {name: format_of(name, "tulu").name for name in names} == names
    with pytest.raises(UsageError, match="no format 'pdf': choose from markdown, jsonl"):
        format_named("pdf")


def test_a_record_of_a_wrong_type_is_refused() -> None:
    tulu = format_named("tulu")
    value = json.loads(tulu.write([chat("one", "1")]))[0]
    value["nodes"][1]["record"]["sampling"]["max_tokens"] = "64"
    with pytest.raises(BadInput, match="is not a session of tulu: TypeError max_tokens is '64'"):
        tulu.read(json.dumps(value).encode(), "file")
