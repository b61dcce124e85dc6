"""Each slash command once: what it does, and what it says where it cannot."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter
from tulu_cli.chat import slash
from tulu_cli.chat.clipboard import system_command
from tulu_cli.chat.store.json import session_from_value, session_to_value
from tulu_cli.errors import BadInput
from tulu_cli.prompt import render_chat

from .scripted import Said, Script, Stage, contents

ONE, TWO = "fake: say one", "fake: say two"


def test_every_row_has_a_test_here() -> None:
    tested = Path(__file__).read_text() + Path(__file__).with_name("test_branches.py").read_text()
    missing = [row.name for row in slash.rows() if f"/{row.name}" not in tested]
    assert missing == []


def test_help_lists_every_row_and_one(stage: Stage) -> None:
    said = stage.play("/help", "/help set", "/?")
    assert all(said.out.count(row.usage) >= 2 for row in slash.rows())
    assert said.out.count("\n/set [NAME") == 3


def test_help_on_a_narrow_terminal_has_the_names_on_lines_of_their_own(stage: Stage) -> None:
    said = stage.play("/help")
    said.chat.streams.width = 20
    slash.run(said.chat, "help", "undo")
    assert said.out.endswith("/undo\n  Go back to before your last turn.\n")


def test_help_on_a_terminal_is_broken_between_words(stage: Stage) -> None:
    said = stage.play("/help", tty=True)
    assert max(map(len, said.out.splitlines())) < 80
    rows = [f"{row.usage} {row.about}" for row in slash.rows() if not row.aliases]
    assert all(row in " ".join(said.out.split()) for row in rows)


@pytest.mark.parametrize("word", ["/exit", "/quit", "/bye", "/q"])
def test_exit_leaves_at_once(stage: Stage, word: str) -> None:
    said = stage.play(word, ONE)
    assert said.script.lines == [ONE]


def test_an_unknown_command_names_the_nearest(stage: Stage) -> None:
    said = stage.play("/regenerate", "/retyr", "/undo now")
    assert "/regenerate is not a command" in said.err
    assert "Did you mean /retry?" in said.err
    assert "/undo takes no argument" in said.err
    assert said.code == 0


@pytest.mark.parametrize("paste", ["/var is full:\nno space", "/exit is what\nit said", "/exit\nx"])
def test_a_paste_that_begins_like_a_command_is_a_turn(stage: Stage, paste: str) -> None:
    said = stage.play(paste, "/exit\n", ONE)
    assert contents(said)[0] == paste
    assert said.script.lines == [ONE]
    assert said.err == ""


def test_a_system_prompt_may_have_many_lines(stage: Stage) -> None:
    said = stage.play("/system Be brief.\nBe kind.", ONE)
    assert said.chat.session.system == "Be brief.\nBe kind."


def test_adapter_switches_and_nothing_is_loaded_anew(
    stage: Stage, small_directory: Path, tmp_path: Path
) -> None:
    made = [make_adapter(tmp_path / name, small_directory, rank=1) for name in ("a", "b")]
    lines = ("/adapter", ONE, "/adapter b", ONE, "/adapter none", ONE, "/adapter c", "/show model")
    chosen: dict[str, Any] = {"model": str(small_directory), "adapter": [*map(str, made)]}
    said = stage.play(*lines, **chosen)
    answers = [node for node in said.chat.session.path() if node.record]
    assert [node.content for node in answers] == ["a: one", "b: one", "one"]
    assert [node.record.adapter for node in answers if node.record] == ["a", "b", None]
    assert [node.record.model for node in answers if node.record][1].endswith("demo + b")
    assert said.err.splitlines()[:2] == ["Adapter: a; there is a, b.", "Adapter: b; there is a, b."]
    assert "There is no adapter 'c': there is a, b, and --adapter loads others" in said.err
    assert "adapter              none, of a, b" in said.out
    assert said.chat.model.name == "demo"
    kept = stage.store.load(said.chat.session.id)
    assert session_from_value(session_to_value(kept), "x") == kept


def test_another_model_has_no_adapter_of_the_old_one(
    stage: Stage, small_directory: Path, tmp_path: Path
) -> None:
    made = [
        make_adapter(tmp_path / name, small_directory, rank=1, targets=("q_proj",))
        for name in ("a", "b")
    ]
    model = str(small_directory)
    lines = (f"/model {model}", "/adapter", ONE, f"/model {model}")
    said = stage.play(*lines, model=model, adapter=[*map(str, made)])
    assert "Adapter: none.\n" in said.err
    assert said.err.count("left out") == 1
    assert "tulu: the adapters a, b are of the model before, and left out.\n" in said.err
    assert contents(said) == [ONE, "one"]


def test_new_begins_anew_and_keeps_the_old(stage: Stage) -> None:
    said = stage.play(ONE, "/system Be brief.", "/new", TWO)
    assert contents(said) == [TWO, "two"]
    assert said.chat.session.system == "Be brief."
    assert len(stage.store.summaries()) == 2


def test_system_holds_for_what_is_asked_next(stage: Stage) -> None:
    said = stage.play(ONE, "/system Be brief.", "/retry", "/system none", "/retry", "/system tulu")
    first, brief, none = (
        node.record.system for node in said.chat.session.nodes.values() if node.record
    )
    assert (first, brief, none) == (None, "Be brief.", None)
    assert "System prompt: You are Tulu 3" in said.err
    prompts = [
        said.chat.model.prepared.token_model().tokenizer.decode(r.prompt_token_ids)
        for r in stage.requests
    ]
    assert ["Be brief." in prompt for prompt in prompts] == [False, True, False]


def test_set_takes_effect_at_once_and_knows_numbers(stage: Stage) -> None:
    said = stage.play("/set temperature 1e-4", "/set top-k 5", "/set seed 7", ONE, "/set")
    sampling = stage.requests[0].sampling
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (1e-4, 5, 7)
    assert "temperature = 0.0001 (/set)" in said.err
    assert "temperature          0.0001  (/set)" in said.out


def test_set_default_takes_a_value_back(stage: Stage) -> None:
    said = stage.play("/set seed 7", "/set seed default", "/set top_k", ONE)
    assert "seed" not in said.chat.settings.values
    assert "top_k = 0 (default)" in said.err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/set temperature hot", "temperature takes a number, not 'hot'."),
        ("/set temperature -1", "temperature takes 0 or more, not -1.0."),
        ("/set top_p nan", "top_p takes over 0 and up to 1, not nan."),
        ("/set max_tokens 1.5", "max_tokens takes a whole number, not '1.5'."),
        ("/set device cpu", "device is decided at the start: leave"),
        ("/set system x", "/system sets the system."),
        ("/set tempreature 1", "'tempreature' is not a setting"),
    ],
)
def test_set_validates(stage: Stage, line: str, sentence: str) -> None:
    said = stage.play(line)
    assert sentence in said.err
    assert "temperature" not in said.chat.settings.values


def test_show_prompt_is_what_the_next_send_gives_the_engine(stage: Stage) -> None:
    text = "What   is <|im_end|>  this?"
    said = stage.play(ONE, f"/show prompt {text}", f"/show ids {text}", text)
    *_, ids_shown = said.out.split("\n")[:-4]
    prompt = said.chat.model.prepared.token_model().tokenizer.decode(
        stage.requests[-1].prompt_token_ids, skip_special_tokens=False
    )
    assert prompt in said.out
    assert " ".join(map(str, stage.requests[-1].prompt_token_ids)) in said.out, ids_shown
    messages = said.chat.session.conversation(said.chat.session.path()[2].id)
    assert prompt == render_chat(said.chat.model.prepared.token_model().tokenizer, messages)


def test_show_without_a_text_is_the_last_prompt(stage: Stage) -> None:
    said = stage.play(ONE, "/show prompt")
    shown = said.out.removeprefix("one\n\n")
    given = stage.requests[0].prompt_token_ids
    assert shown == said.chat.model.prepared.token_model().tokenizer.decode(
        given, skip_special_tokens=False
    )


def test_show_settings_model_and_nothing_else(stage: Stage) -> None:
    said = stage.play("/show settings", "/show model", "/show nonsense")
    assert "top_p                0.9  (the model's advice)" in said.out
    assert "engine               fake" in said.out
    assert "/show takes prompt, ids" in said.err


def test_model_keeps_the_conversation(stage: Stage, demo_directory: Path) -> None:
    said = stage.play(ONE, f"/model {demo_directory}", "/model", TWO)
    assert contents(said) == [ONE, "one", TWO, "two"]
    assert said.err.count("Model: ") == 2


def test_model_that_is_none_changes_nothing(stage: Stage) -> None:
    said = stage.play("/model nonsense", ONE)
    assert "is not a model" in said.err
    assert contents(said) == [ONE, "one"]


def test_retry_edit_and_the_rest_say_where_there_is_nothing(stage: Stage) -> None:
    lines = (
        "/retry",
        "/continue",
        "/edit",
        "/undo",
        "/redo",
        "/fork",
        "/tree",
        "/switch 1",
        "/copy",
        "/stats",
    )
    said = stage.play(*lines)
    assert said.err.count("tulu: ") == len(lines)
    assert "bug" not in said.err


def test_edit_puts_the_turn_on_the_line(stage: Stage) -> None:
    said = stage.play("//exit", "/edit", "changed")
    assert said.script.drafts[2] == "//exit", "so that it is sent as it was"
    assert contents(said)[0] == "changed"


def test_an_edit_that_is_given_up_is_over(stage: Stage) -> None:
    said = stage.play(ONE, "/edit", "/undo", TWO)
    assert len(said.chat.session.nodes) == 4
    assert contents(said) == [TWO, "two"]


def test_continue_after_the_end_is_a_prefill(stage: Stage) -> None:
    said = stage.play(ONE, "/continue")
    given = said.chat.model.prepared.token_model().tokenizer.decode(
        stage.requests[1].prompt_token_ids, skip_special_tokens=False
    )
    assert given.endswith("<|im_start|>assistant\none"), "no end and no new turn"
    assert contents(said) == [ONE, "oneone"]


def test_copy_takes_the_answer_its_code_or_a_turn(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    code = "fake: say text\\n```py\\nx = 1\\n```\\nend"
    said = stage.play(code, "/copy", "/copy code", "/copy 1", tty=True)
    sent = [base64.b64decode(part.split("\x07")[0]) for part in said.out.split("\x1b]52;c;")[1:]]
    assert sent == [b"text\n```py\nx = 1\n```\nend", b"x = 1\n", code.encode()]


def test_copy_without_a_clipboard_or_a_block(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    said = stage.play(ONE, "/copy code", "/copy", "/copy 9", "/copy x")
    assert "has no code block" in said.err
    assert "There is no clipboard here" in said.err
    assert "There is no turn 9" in said.err


def test_copy_prefers_the_clipboard_of_the_desktop(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    program = tmp_path / "wl-copy"
    program.write_text(f"#!/bin/sh\n/bin/cat > {taken}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    said = stage.play(ONE, "/copy")
    assert taken.read_text() == "one"
    assert "Copied 3 characters with wl-copy." in said.err
    assert system_command({}) is None


def test_file_attaches_and_drops(stage: Stage, tmp_path: Path) -> None:
    one, two = tmp_path / "a b.txt", tmp_path / "c.txt"
    one.write_text("first\n\ttab\n")
    two.write_text("second")
    lines = (f"/file '{one}' {two}", "Compare.", f"/file {two}", "/file", "Now?")
    said = stage.play(*lines)
    assert contents(said)[0] == (
        f"Compare.\n\n{one}\n```\nfirst\n\ttab\n```\n\n{two}\n```\nsecond\n```"
    )
    assert contents(said)[2] == "Now?"


def test_file_that_cannot_be_read_attaches_nothing(stage: Stage, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("good")
    bad.write_bytes(b"ok\xff")
    lines = [f"/file {good} {bad}", f"/file {good} {tmp_path}/none", "/file 'open", "Hello"]
    said = stage.play(*lines)
    assert contents(said)[0] == "Hello"
    assert "byte 2 is 0xff" in said.err
    assert "No such file" in said.err


def test_shell_asks_runs_and_attaches(stage: Stage) -> None:
    command = "echo out; echo err >&2; exit 3"
    said = stage.play(f"/shell {command}", "Why?")
    assert said.script.questions == [f"Run {command!r}?"]
    assert contents(said)[0] == f"Why?\n\n$ {command} (exit code 3)\n```\nout\nerr\n```"
    assert "out\nerr\n" in said.out


def test_shell_that_is_refused_runs_nothing(stage: Stage, tmp_path: Path) -> None:
    said = stage.play(f"/shell touch {tmp_path}/made", yes=False)
    assert "Not run." in said.err
    assert not (tmp_path / "made").exists()


def test_load_search_and_history_find_other_sessions(stage: Stage) -> None:
    first = stage.play(ONE)
    said = stage.play(TWO, "/history", "/search one", f"/load {first.chat.session.id[:6]}")
    assert first.chat.session.id in said.out
    assert "user: fake: say one" in said.out
    assert said.chat.session.id == first.chat.session.id
    assert "2 turns" in said.err


def test_search_and_history_without_a_find(stage: Stage) -> None:
    said = stage.play("/history", "/search nothing", "/search", "/load", "/load none")
    assert "There are no sessions yet" in said.err
    assert "Nothing was found" in said.err
    assert "There is no session 'none'" in said.err


@pytest.mark.parametrize("name", ["a b.md", "a.jsonl", "a.json", "a.html"])
def test_save_and_load_bring_the_conversation_back(stage: Stage, tmp_path: Path, name: str) -> None:
    file = str(tmp_path / name).replace(" ", "\\ ")
    said = stage.play(ONE, "/system Be brief.", TWO, f"/save {file}", "/new", f"/load {file}")
    assert contents(said) == [ONE, "one", TWO, "two"]
    again = stage.play(ONE, f"/save {file}")
    assert "is there already" in again.err


def test_save_and_load_say_what_they_cannot(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    lines = (
        "/save x",
        ONE,
        "/save",
        "/save a b",
        f"/save {tmp_path}/no/x.md",
        f"/load {tmp_path}/bad.json",
        f"/load {tmp_path}/none.md",
    )
    said = stage.play(*lines)
    assert said.err.count("tulu: ") == 6
    assert "bug" not in said.err
    assert "line 1" in said.err
    assert contents(said) == [ONE, "one"]


def test_tokens_add_up_to_the_prompt(stage: Stage) -> None:
    said = stage.play(ONE, TWO, "/tokens")
    *turns, total = [line.split() for line in said.out.splitlines()[-6:]]
    assert sum(int(turn[0]) for turn in turns) == int(total[0])
    # The demo model's template has a system message of its own.
    assert " ".join(turns[0][1:]) == "system: of the chat template's own"
    assert [turn[1] for turn in turns] == ["system:", *["user:", "assistant:"] * 2]
    chat = said.chat
    assert int(total[0]) == len(
        chat.requests.token_ids(chat.session.conversation(), generation_prompt=False)
    )
    said = stage.play("/system Be brief.", ONE, "/tokens")
    assert "of the chat template's own" not in said.out


def test_stats_count_the_answers(stage: Stage) -> None:
    said = stage.play(ONE, TWO, "/stats")
    tokens = len(stage.requests[1].prompt_token_ids)
    assert f"last answer   {tokens} prompt tokens" in said.out
    assert "this session  2 answers" in said.out


def test_clear_clears_a_terminal_alone(stage: Stage) -> None:
    assert stage.play("/clear").out == ""
    assert stage.play("/clear", tty=True).out == "\x1b[H\x1b[2J"


def test_a_bug_in_a_command_is_a_sentence(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> None:
        raise KeyError("nobody thought of it")

    monkeypatch.setitem(slash.row.ROWS, "tree", replace(slash.find("tree"), handler=broken))
    said: Said = stage.play("/tree", ONE)
    bug = "tulu: This is a bug, KeyError: 'nobody thought of it'; --debug shows where."
    assert bug in said.err
    assert contents(said) == [ONE, "one"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/un", ["/undo"]),
        ("/s", ["/save", "/search", "/set", "/shell", "/show", "/stats", "/switch", "/system"]),
        ("/set temp", ["temperature"]),
        ("/show ", ["prompt", "ids", "settings", "model"]),
        ("/model 8", ["8b"]),
        ("/copy c", ["code"]),
        ("/help und", ["undo"]),
        ("/undo x", []),
        ("/nope x", []),
        ("hello /un", []),
        ("/un\n", []),
    ],
)
def test_the_rows_complete_themselves(stage: Stage, line: str, expected: list[str]) -> None:
    chat = stage.play().chat
    assert [candidate.text for candidate in slash.candidates(chat, line)] == expected


def test_paths_and_sessions_are_completed(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a dir").mkdir()
    for name in ("a file", ".hidden", "b'c", "bad\x1b"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    chat = stage.play(ONE, "/fork work").chat

    def texts(line: str) -> list[str]:
        return [candidate.text for candidate in slash.candidates(chat, line)]

    assert texts("/file ") == ["a\\ dir/", "a\\ file", "b\\'c"]
    assert texts("/file a\\ f") == ["a\\ file"]
    assert texts("/file b\\'c .h") == [".hidden"]
    assert texts(f"/file {tmp_path}/b") == [f"{tmp_path}/b\\'c"]
    assert texts("/load wo") == ["work"]


def test_debug_shows_where_a_command_failed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("nobody thought of it")

    monkeypatch.setattr(stage.store, "summaries", fail)
    assert "Traceback" not in stage.play("/history").err
    said = stage.play("/history", debug=True)
    assert "in fail" in said.err
    assert said.err.index("Traceback") < said.err.index("tulu: This is a bug")


@pytest.mark.parametrize(
    "line", ["caf\udce9", "/system caf\udce9", "/search \udcff", "/fork \udcff"]
)
def test_what_is_not_utf_8_is_put_back_on_the_line(stage: Stage, line: str) -> None:
    said = stage.play(line)
    assert (
        said.err
        == "tulu: some bytes were not UTF-8, and stand as \ufffd below: Enter takes the line so.\n"
    )
    assert said.script.drafts[1] == line[:-1] + "\ufffd"
    assert said.out == ""
    assert said.chat.failure == 0


def test_a_file_may_have_a_name_that_is_not_utf_8(stage: Stage, tmp_path: Path) -> None:
    named = tmp_path / "caf\udce9.txt"
    named.write_text("coffee")
    said = stage.play(f"/file {named}", "Read it.", f"/save {tmp_path}/\udcff.md")
    assert contents(said)[0].startswith("Read it.\n\n")
    assert "caf\ufffd.txt\n```\ncoffee\n```" in contents(said)[0]
    assert (tmp_path / "\udcff.md").is_file()


class Garbled(Script):
    def read(self, default: str = "") -> str:
        if len(self.drafts) == 1:
            self.drafts.append(default)
            raise BadInput("Line 2 of stdin is not UTF-8.")
        return super().read(default)


def test_a_line_that_cannot_be_read_ends_no_conversation(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.chat.repl.scripted.Script", Garbled)
    said = stage.play(ONE, TWO)
    assert said.err == "tulu: Line 2 of stdin is not UTF-8.\n"
    assert contents(said) == [ONE, "one", TWO, "two"]
