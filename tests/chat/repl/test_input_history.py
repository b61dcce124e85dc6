"""The file of what was typed: whole entries, no loss, and nobody else's business."""

import json
import multiprocessing
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.chat.line.history import InputHistory
from tulu_cli.chat.line.plain import Command, Say, in_open_block, literal, understand
from tulu_cli.chat.slash.answers import last_code_block


def add_many(path: Path, word: str) -> None:
    history = InputHistory(path)
    for number in range(200):
        history.add(f"{word} {number}\nmore\n" + "x" * (number * 50))


def test_many_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chats" / "typed.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=add_many, args=(path, word)) for word in "abcd"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = InputHistory(path).newest_first()
    assert len(found) == 800
    for word in "abcd":
        mine = [entry.split("\n")[0] for entry in found if entry.startswith(word)]
        assert mine == [f"{word} {number}" for number in reversed(range(200))]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_last_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "typed.jsonl"
    path.write_bytes(b'"one"\n"tw')
    history = InputHistory(path)
    history.add("three")
    assert history.newest_first() == ["three", "one"]


def test_what_is_no_entry_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "typed.jsonl"
    path.write_bytes(b'{"a": 1}\n\xff\n\n"one"\n12\n')
    assert InputHistory(path).newest_first() == ["one"]


def test_a_repetition_is_shown_once(tmp_path: Path) -> None:
    history = InputHistory(tmp_path / "typed.jsonl")
    for entry in ("a", "b", "b", "a"):
        history.add(entry)
    assert history.newest_first() == ["a", "b", "a"]


def test_a_file_that_cannot_be_written_is_only_kept_in_mind(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    history = InputHistory(blocked / "typed.jsonl")
    history.add("one")
    assert history.newest_first() == ["one"]
    history.add("two")
    assert history.newest_first() == ["two", "one"]


def test_only_the_newest_part_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "typed.jsonl"
    line = json.dumps("x" * 2**16) + "\n"
    path.write_text('"oldest"\n' + line * 65 + '"newest"\n')
    found = InputHistory(path).newest_first()
    assert found[0] == "newest"
    assert "oldest" not in found


@given(st.text())
def test_what_is_literal_is_sent_as_it_is(text: str) -> None:
    if text.strip():
        typed = literal(text)
        assert understand(typed) == Say(text) or '"""' in text
        assert typed == text or not in_open_block(typed)


def test_what_is_typed_is_understood() -> None:
    expected = {
        "/set top_k 5": Command("set", "top_k 5"),
        "/system One\nTwo ": Command("system", "One\nTwo"),
        "/?": Command("?"),
        "/etc/hosts": Say("/etc/hosts"),
        "/* comment */": Say("/* comment */"),
        "// comment": Say("// comment"),
        "//help": Say("/help"),
        " /help": Say(" /help"),
        '"""/help"""': Say("/help"),
        '"""\n a \n"""  ': Say(" a "),
        "h": Say("h"),
        " \n": None,
    }
    assert {text: understand(text) for text in expected} == expected


def test_the_last_code_block_is_found() -> None:
    expected = {
        "no block": None,
        "```py\na\n```": "a\n",
        "```\na\n```\n~~~~\nb\n~~~\n~~~~\nend": "b\n~~~\n",
        "```\nstill open": "still open",
        "```": "",
        "a ```b``` c": None,
        "  ```\na\n  ```\n": "a\n",
    }
    assert {text: last_code_block(text) for text in expected} == expected
