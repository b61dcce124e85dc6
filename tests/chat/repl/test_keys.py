"""The prompt line's keys, as a person presses them."""

import stat
from pathlib import Path

import pytest
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys

from tulu_cli.chat.line.line import joined

from .conftest import OpenChat
from .stored import path
from .terminal import CTRL_D, ENTER

CTRL_R, CTRL_G, ESCAPE, UP, TAB, END = "\x12", "\x07", "\x1b", "\x1b[A", "\t", "\x05"


def said(data: Path) -> list[str]:
    """What the user said in the only session."""
    return [content for role, content in path(data) if role == "user"]


def test_tab_completes_a_command_and_its_argument(open_chat: OpenChat) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say(f"/und{TAB}")
    chat.until("There is nothing to undo")
    chat.say(f"/set tempe{TAB} 0.5")
    chat.until("temperature = 0.5")
    chat.leave()


def test_a_menu_opens_while_a_command_is_typed(sized_chat: OpenChat) -> None:
    chat = sized_chat()
    chat.until_prompt()
    chat.type("/sy")
    chat.until("/system")
    chat.type(f"\x15{CTRL_D}")
    assert chat.exit_code() == 0


def test_the_arrow_brings_a_turn_back_whole(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.type("fake: say one\ntwo" + ENTER)
    chat.until("\none")
    chat.until_prompt()
    chat.type(UP)
    chat.until(lambda: chat.text().count(". two") == 2)
    chat.type(ENTER)
    chat.until(lambda: chat.text().count("\none") == 2)
    chat.leave()
    assert said(data) == ["fake: say one\ntwo"] * 2


def test_ctrl_r_finds_what_another_terminal_typed(open_chat: OpenChat, data: Path) -> None:
    one = open_chat("--session", "one")
    other = open_chat("--session", "two")
    for chat in (one, other):
        chat.until_prompt()
    one.type("fake: say needle\n\nin two lines" + ENTER)
    one.until("\nneedle")
    one.leave()
    other.say("fake: say hay")
    other.until("\nhay")
    other.until_prompt()
    other.type(f"{CTRL_R}needle")
    other.until("in two lines")
    other.type(ENTER + ENTER)
    other.until("\nneedle")
    other.leave()
    file = data / "chats" / "typed.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().splitlines()) == 3


def test_what_was_typed_is_suggested(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat()
    chat.until_prompt()
    chat.say("fake: say a long sentence")
    chat.until("\na long sentence")
    chat.until_prompt()
    chat.type("fake: sa")
    chat.until(lambda: chat.text().count("fake: say a long sentence") == 2)
    chat.type(END + ENTER)
    chat.until(lambda: chat.text().count("\na long sentence") == 2)
    chat.leave()


@pytest.mark.parametrize("keys", [CTRL_G, "\x18\x05"], ids=["ctrl-g", "ctrl-x ctrl-e"])
def test_an_editor_opens_with_the_whole_text(
    open_chat: OpenChat, data: Path, tmp_path: Path, keys: str
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf " edited" >> "$1"\n')
    editor.chmod(0o755)
    chat = open_chat(VISUAL=str(editor), EDITOR="false")
    chat.until_prompt()
    chat.paste("big\n" * 40)
    chat.until("[pasted 40 lines]")
    chat.type(keys)
    chat.until("edited")
    chat.type(ENTER)
    chat.leave()
    assert said(data) == ["big\n" * 40 + " edited"]


def pressed(text: str) -> list[KeyPress]:
    """The keys of a text, in which \\x1b is Escape and \\r is Enter."""
    special = {"\x1b": Keys.Escape, "\r": Keys.Enter}
    return [KeyPress(special.get(char, char), char) for char in text]


def test_only_a_burst_of_characters_is_joined() -> None:
    few = pressed("\x1bfa line as people type it\r" * 9)
    assert joined(few) == few
    many = joined(pressed(f"{'a' * 600}\r{'b' * 100}\x1bf{'c' * 99}"))
    assert [(key.key, len(key.data)) for key in many] == [
        (Keys.BracketedPaste, 512), (Keys.BracketedPaste, 88), (Keys.Enter, 1),
        ("b", 1), (Keys.BracketedPaste, 99),
        (Keys.Escape, 1), ("f", 1), (Keys.BracketedPaste, 99),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["emacs", "vi"])
def test_a_paste_without_marks_is_sent_as_it_is(open_chat: OpenChat, data: Path, mode: str) -> None:
    text = "fake: say yes " + " ".join(f"wörd{number}" for number in range(400))
    chat = open_chat(TULU_EDITING_MODE=mode)
    chat.until_prompt()
    chat.type(text)
    chat.type("\n/exit" + ENTER)
    chat.until("\nyes")
    chat.leave()
    assert said(data) == [f"{text}\n/exit"]


def test_vi_mode_is_a_setting(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(TULU_EDITING_MODE="vi")
    chat.until_prompt()
    chat.type(f"one two{ESCAPE}")
    chat.until("one two")
    chat.type("bcw")
    chat.type("three" + ENTER)
    chat.leave()
    assert said(data) == ["one three"]


def test_the_toolbar_counts_exactly(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat("--session", "work")
    chat.until_prompt()
    assert "fake · work · 0/8,192 tokens" in chat.screen()
    chat.say("fake: say one")
    chat.until("\none")
    chat.until_prompt()
    shown = chat.screen().rpartition(" tokens")[0].rpartition(" · ")[2]
    assert "tok/s" in chat.screen()
    chat.say("/tokens")
    chat.until(f"{shown.split('/')[0]}  of 8,192 tokens")
    chat.leave()


def test_a_narrow_toolbar_keeps_what_matters_most(open_chat: OpenChat) -> None:
    chat = open_chat(columns=20, lines=10)
    chat.until_prompt()
    assert chat.screen().splitlines()[-1] == "0/8,192 tokens"
    chat.leave()
