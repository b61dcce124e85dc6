"""Typing and pasting a turn on a real terminal: what is sent is what was given, whole and once."""

import re
from pathlib import Path

import pytest

from tests.warming import order_of, runtime
from tulu_cli.models import no_progress
from tulu_cli.warm import starter

from .conftest import OpenChat
from .stored import last, path
from .terminal import CTRL_D, ENTER

ANSWER = "fake: say yes"


def test_a_turn_is_answered_and_kept(sized_chat: OpenChat, data: Path) -> None:
    chat = sized_chat()
    chat.until_prompt()
    chat.say("fake: say hello")
    chat.until("\nhello")
    chat.leave()
    assert path(data) == [("user", "fake: say hello"), ("assistant", "hello")]


def test_alt_enter_and_ctrl_j_make_a_line(sized_chat: OpenChat, data: Path) -> None:
    chat = sized_chat()
    chat.until_prompt()
    chat.type("one\x1b\rtwo\nthree" + ENTER)
    chat.leave()
    assert path(data)[0] == ("user", "one\ntwo\nthree")


def test_a_block_in_quotes_goes_over_many_lines(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say('"""/exit')
    chat.say("")
    chat.say('that was a text"""')
    chat.leave()
    assert path(data)[0] == ("user", "/exit\n\nthat was a text")


def test_a_paste_is_one_turn_with_its_tabs_and_blank_lines(
    sized_chat: OpenChat, data: Path
) -> None:
    pasted = "def f():\n\treturn 1\n\n\n/exit\nlast"
    chat = sized_chat()
    chat.until_prompt()
    chat.paste(pasted)
    chat.type(ENTER)
    chat.leave()
    assert path(data)[0] == ("user", pasted)


@pytest.mark.parametrize("how", ["type", "paste"])
def test_what_is_not_utf_8_is_put_back_and_sent_as_it_is_shown(
    open_chat: OpenChat, data: Path, how: str
) -> None:
    chat = open_chat()
    chat.until_prompt()
    getattr(chat, how)("fake: say caf\udce9, \udcff\udcfe")
    chat.type(ENTER)
    chat.until("some bytes were not UTF-8, and stand as \ufffd below")
    chat.until("> fake: say caf\ufffd, \ufffd\ufffd")
    chat.type("!" + ENTER)
    chat.until("\ncaf\ufffd, \ufffd\ufffd!")
    chat.leave()
    assert path(data)[0] == ("user", "fake: say caf\ufffd, \ufffd\ufffd!")


def test_a_big_paste_is_a_chip_that_ctrl_o_opens(sized_chat: OpenChat, data: Path) -> None:
    pasted = "\n".join(f"line {number}" for number in range(1, 813))
    chat = sized_chat("--max-model-len", "8192")
    chat.until_prompt()
    chat.type("look: ")
    chat.paste(pasted)
    seen = chat.until("[pasted 812 lines]" if chat.columns == 80 else "[pasted 812")
    assert "line 500" not in seen
    chat.type("\x0f")
    chat.until("line 812")
    chat.type(ENTER)
    chat.leave()
    assert path(data)[0] == ("user", f"look: {pasted}")


def test_a_chip_goes_with_one_backspace(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.paste("much\n" * 50)
    chat.until("[pasted 50 lines]")
    chat.type("\x7f")
    chat.say("little")
    chat.leave()
    assert path(data)[0] == ("user", "little")


def test_a_megabyte_is_pasted_whole(open_chat: OpenChat, data: Path) -> None:
    pasted = "\n".join(f"{number:>9}\t|" for number in range(90_000))
    assert len(pasted) > 2**20
    chat = open_chat()
    chat.until_prompt()
    chat.paste(pasted)
    chat.until("[pasted 90,000 lines]")
    chat.type(ENTER)
    chat.until("is over by")
    chat.leave()
    assert path(data) == [("user", pasted)]


def test_two_slashes_send_one(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say("//exit")
    chat.until_prompt()
    chat.say("/etc/hosts is a file")
    chat.leave()
    said = [content for role, content in path(data) if role == "user"]
    assert said == ["/exit", "/etc/hosts is a file"]


def test_wide_characters_go_with_one_backspace_each(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.type("日本語\x7f\x7f木" + ENTER)
    chat.leave()
    assert path(data)[0] == ("user", "日木")


def test_what_is_typed_during_an_answer_is_sent_after_it(sized_chat: OpenChat, data: Path) -> None:
    chat = sized_chat("--engine-arg", "delay=0.01")
    chat.until_prompt()
    chat.say("fake: words 60")
    chat.until("w9")
    chat.say("fake: say second")
    chat.paste("fake: say\n\nthird")
    chat.type(ENTER)
    chat.until("w60")
    chat.leave()
    said = [content for role, content in path(data) if role == "user"]
    assert said == ["fake: words 60", "fake: say second", "fake: say\n\nthird"]
    assert chat.text().count("> fake: say second") == 1, "seen once, on its prompt line"


def test_what_is_typed_before_the_first_prompt_is_sent_too(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until(lambda: b"Loading" in chat.sent)
    chat.say("fake: say early")
    chat.until("\nearly")
    chat.leave()
    assert chat.text().count("fake: say early") == 1


def test_ctrl_d_during_an_answer_waits_for_its_end(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--engine-arg", "delay=0.01")
    chat.until_prompt()
    chat.say("fake: words 40")
    chat.until("w9")
    chat.type(CTRL_D)
    assert chat.exit_code() == 0
    assert last(data).content.endswith("w40")


def test_a_dumb_terminal_gets_no_escape_sequence(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(TERM="dumb")
    chat.until("\n>")
    chat.say("fake: say **one**")
    chat.until("\n**one**")
    chat.type(CTRL_D)
    assert chat.exit_code() == 0
    assert b"\x1b" not in chat.sent
    assert path(data)[1] == ("assistant", "**one**")


def test_no_colour_is_no_colour(open_chat: OpenChat) -> None:
    chat = open_chat(NO_COLOR="1")
    chat.until_prompt()
    chat.say("fake: say `one`")
    chat.until("\none")
    chat.leave()
    colours = re.findall(rb"\x1b\[[0-9;]*m", chat.sent)
    assert not [one for one in colours if re.search(rb"[;\[](3[0-7]|4[0-7]|9[0-7])[;m]", one)]


def test_no_cursor_query_no_other_screen_and_nothing_cleared(open_chat: OpenChat) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say(ANSWER)
    chat.until("\nyes")
    chat.leave()
    for sequence in (b"\x1b[6n", b"\x1b[?1049h", b"\x1b[2J", b"\x1b[3J", b"\x1bc"):
        assert sequence not in chat.sent


def test_on_a_warm_engine_the_chat_says_so_and_answers(
    open_chat: OpenChat, demo_directory: Path
) -> None:
    with runtime() as root:
        starter.start(order_of("fake", demo_directory), no_progress)
        chat = open_chat(TULU_RUNTIME_DIR=str(root))
        chat.until("on warm fake.")
        chat.until_prompt()
        assert "· warm fake ·" in chat.screen()
        chat.say("fake: say one")
        chat.until("\none")
        chat.leave()
