"""What is answered: the argument, stdin, files and a conversation, put together."""

import json
from pathlib import Path

import pytest

from tulu_cli.core import Message
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.request.inputs import (
    Given,
    check_given,
    conversation,
    read_stdin,
    stdin_is_idle,
    user_text,
    with_system,
)
from tulu_cli.streams import Streams

CHAT = b'[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]'


class Silent(Streams):
    """A stdin that is open and says nothing: reading it would never end."""

    def stdin_ready(self, seconds: float) -> bool:
        return False

    def read(self) -> bytes:
        raise AssertionError("this would hang")


def silent() -> Silent:
    streams = Streams.test()
    return Silent(streams.stdin, streams.stdout, streams.stderr)


@pytest.mark.parametrize(
    ("given", "data"),
    [
        (Given(), b"data"),
        (Given("-"), b"data"),
        (Given("say"), b"data"),
        (Given("say", ("-",)), b"data"),
        (Given(None, ("f",)), b"data"),
        (Given(messages="-"), b"data"),
        (Given("-", messages="f"), b"data"),
        (Given(messages="f"), None),
        (Given("say", messages="f"), None),
    ],
)
def test_when_a_pipe_is_read(given: Given, data: bytes | None) -> None:
    assert read_stdin(given, Streams.test(b"data"), 0) == data


def test_a_terminal_is_read_only_where_it_is_named() -> None:
    def terminal() -> Streams:
        return Streams.test(b"typed", tty=True)

    assert read_stdin(Given("-"), terminal(), 0) == b"typed"
    assert read_stdin(Given("say", ("-",)), terminal(), 0) == b"typed"
    assert read_stdin(Given("say"), terminal(), 0) is None
    assert not stdin_is_idle(Given("say"), terminal(), None)
    check_given(Given("-"), terminal())
    check_given(Given("say"), terminal())
    with pytest.raises(UsageError, match="There is no prompt"):
        check_given(Given(), terminal())


def test_a_silent_stdin_is_not_waited_for_where_there_is_a_prompt() -> None:
    for given in (Given("say"), Given(None, ("f",))):
        assert read_stdin(given, silent(), 0) is None
        assert stdin_is_idle(given, silent(), None)
    assert not stdin_is_idle(Given("say"), silent(), b"")
    assert not stdin_is_idle(Given(messages="f"), silent(), None)


@pytest.mark.parametrize("given", [Given(), Given("-"), Given("say", ("-",)), Given(messages="-")])
def test_a_silent_stdin_is_waited_for_where_it_is_needed(given: Given) -> None:
    with pytest.raises(AssertionError, match="this would hang"):
        read_stdin(given, silent(), 0)


@pytest.mark.parametrize(
    "given",
    [Given("-", ("-",)), Given("-", messages="-"), Given(None, ("-", "-"))],
)
def test_stdin_can_be_named_once(given: Given) -> None:
    with pytest.raises(UsageError, match="stdin can be read only once"):
        check_given(given, Streams.test(b"x"))


@pytest.mark.parametrize(
    ("argument", "data", "expected"),
    [
        ("say", None, "say"),
        ("say", b"", "say"),
        (None, b"data\r\n", "data\r\n"),
        ("-", b"data  ", "data  "),
        ("say", b"a\r\n\x00b  ", "say\n\na\r\n\x00b  "),
        ("say", "Tülu\n\n".encode(), "say\n\nTülu\n\n"),
        ("", b"data", "data"),
        (None, b"", ""),
        (None, None, ""),
    ],
)
def test_the_argument_and_the_data(argument: str | None, data: bytes | None, expected: str) -> None:
    assert user_text(Given(argument), data) == expected


def test_files_are_named_blocks(tmp_path: Path) -> None:
    file = tmp_path / "bad\nname\x1b.txt"
    file.write_bytes(b"one\r\ntwo")
    text = user_text(Given("say", (str(file), "-")), b"piped")
    parts = f"{tmp_path}/bad\ufffdname\ufffd.txt\n```\none\r\ntwo\n```", "stdin\n```\npiped\n```"
    assert text == "\n\n".join(("say", *parts))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("missing", None, "missing cannot be read: No such file or directory"),
        ("", None, "cannot be read: Is a directory"),
        ("a\nb\x1b", None, r"/a\\nb\\x1b' cannot be read: No such file"),
        ("latin\n1", b"caf\xe9", r"/latin\\n1' is not UTF-8: byte 3 is 0xe9"),
        ("latin1", b"caf\xe9", "latin1 is not UTF-8: byte 3 is 0xe9"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=complaint) as caught:
        user_text(Given("say", (str(tmp_path / name),)), None)
    assert str(caught.value).isprintable()


def test_stdin_that_is_not_utf8_is_bad_input_with_the_offset() -> None:
    for given in (Given(), Given("-"), Given("say"), Given(None, ("-",)), Given(messages="-")):
        with pytest.raises(BadInput, match="stdin is not UTF-8: byte 4 is 0xff"):
            conversation(given, b"\xc3\xbcxy\xff")


def test_an_argument_that_is_not_utf8_is_bad_input() -> None:
    with pytest.raises(BadInput, match="The prompt is not UTF-8: byte 1 is 0xff"):
        user_text(Given("a\udcff"), None)
    with pytest.raises(BadInput, match="--prefill is not UTF-8: byte 0 is 0xff"):
        conversation(Given("a"), None, "\udcff")


def test_a_conversation_from_a_file_and_from_stdin(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_bytes(CHAT)
    expected = (Message("system", "s"), Message("user", "u"))
    assert conversation(Given(messages=str(file)), None) == expected
    assert conversation(Given(messages="-"), CHAT) == expected
    assert conversation(Given("more", messages="-"), CHAT) == (*expected, Message("user", "more"))


def test_a_prefill_begins_the_answer() -> None:
    assert conversation(Given("q"), None, "Well,") == (
        Message("user", "q"),
        Message("assistant", "Well,"),
    )
    assert conversation(Given("q"), None, "")[-1] == Message("assistant", "")


def test_a_conversations_own_system_message_goes_before_a_default() -> None:
    own, user = Message("system", "own"), Message("user", "u")
    assert with_system((user,), "s", asked=True) == (Message("system", "s"), user)
    assert with_system((user,), None, asked=False) == (user,)
    assert with_system((own, user), "s", asked=False) == (own, user)
    with pytest.raises(UsageError, match="cannot be combined"):
        with_system((own, user), "s", asked=True)


@pytest.mark.parametrize("given", [Given(""), Given(), Given("-")])
def test_nothing_to_answer(given: Given) -> None:
    with pytest.raises(UsageError, match="The prompt is empty"):
        conversation(given, b"")


def test_bad_json_says_where(tmp_path: Path) -> None:
    file = tmp_path / "chat\n.json"
    file.write_text(json.dumps([]) + "\n  x")
    with pytest.raises(BadInput, match=r"chat\\n\.json' is not valid JSON: line 2, column 3"):
        conversation(Given(messages=str(file)), None)
