"""The parts of the prompt line, each alone: chips, toolbar, Ctrl-C, the chat's model."""

import os
import signal
from pathlib import Path

import pytest
from prompt_toolkit.document import Document
from prompt_toolkit.layout.processors import TransformationInput

from tests.foreign_server import careless, serving, strict
from tulu_cli.chat.line.chips import Chips, ShowChips
from tulu_cli.chat.line.terminal import Interrupts
from tulu_cli.chat.model import LoadedModel
from tulu_cli.chat.toolbar import Toolbar
from tulu_cli.engines import fake
from tulu_cli.errors import EngineError, ModelNotFound
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import Machine
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams

from .scripted import Stage, contents

BIG = "line\n" * 20


def shown(chips: Chips, text: str) -> tuple[str, list[int], list[int]]:
    """A line as it is shown, and where each column goes and comes from."""
    given = TransformationInput(
        None,  # type: ignore[arg-type]  # it is not looked at
        Document(text),
        0,
        lambda column: column,
        [("", text)],
        80,
        24,
    )
    change = ShowChips(chips).apply_transformation(given)
    line = "".join(fragment[1] for fragment in change.fragments)
    there = [change.source_to_display(column) for column in range(len(text) + 1)]
    return line, there, [change.display_to_source(column) for column in range(len(line) + 1)]


def test_a_chip_is_one_character_that_is_shown_as_many() -> None:
    chips = Chips()
    chip = chips.fold(BIG)
    assert len(chip) == 1
    line, there, back = shown(chips, f"a{chip}b")
    assert line == "a[pasted 20 lines]b"
    assert there == [0, 1, 18, 19]
    assert back == [0, *[1] * 17, 2, 3]
    assert chips.expand(f"a{chip}b{chip}") == f"a{BIG}b{BIG}"


def test_a_small_paste_is_no_chip_and_a_long_line_is() -> None:
    chips = Chips()
    assert chips.fold("a\nb") == "a\nb"
    assert shown(chips, "plain")[0] == "plain"
    chip = chips.fold("x" * 2000)
    assert shown(chips, chip)[0] == "[pasted 2,000 characters]"


def test_what_turns_the_text_around_is_shown() -> None:
    assert shown(Chips(), "a\u202eb")[0] == "a<U+202E>b"
    assert shown(Chips(), "a\u200bb می\u200cخ")[0] == "a<U+200B>b می\u200cخ"


def test_unfolding_keeps_the_cursor_in_its_place() -> None:
    chips = Chips()
    chip = chips.fold(BIG)
    after = chips.unfold(Document(f"a{chip}b", 2))
    assert (after.text, after.cursor_position) == (f"a{BIG}b", 1 + len(BIG))


def test_a_paste_is_not_looked_into_for_chips() -> None:
    chips = Chips()
    first = chips.fold(BIG)
    second = chips.fold(BIG + first)
    assert chips.expand(second) == BIG + first


def test_the_toolbar_shows_what_a_server_has_counted(stage: Stage) -> None:
    with serving(strict) as server:
        chat = stage.play("Hi", server=[server.url]).chat
        assert " · 12 tokens · " in Toolbar(chat)(200)
        server.respond = careless
        chat = stage.play("Hi", server=[server.url]).chat
        assert " tokens" not in Toolbar(chat)(200)


def test_the_toolbar_gives_way_in_order(stage: Stage) -> None:
    chat = stage.play("fake: say one").chat
    chat.left_out = 2
    toolbar = Toolbar(chat)
    wide = toolbar(200)
    assert wide.index("demo") < wide.index("fake") < wide.index("tokens") < wide.index("left out")
    used = len(chat.requests.token_ids(chat.session.conversation(), generation_prompt=False))
    for width in range(1, len(wide) + 1):
        line = toolbar(width)
        assert len(line) <= width
        assert line.startswith(f"{used}/8,192 tokens"[:width]) or f"{used}/8,192 tokens" in line


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_is_held_back_until_it_is_welcome() -> None:
    before = signal.getsignal(signal.SIGINT)
    interrupts = Interrupts()
    with interrupts.held_back():
        press()
        assert interrupts.pressed
        with pytest.raises(KeyboardInterrupt), interrupts.welcome():
            pytest.fail("what was pressed before counts at once")
        interrupts.forget()
        with pytest.raises(KeyboardInterrupt), interrupts.welcome():
            press()
        press()
        press()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def resident(demo_directory: Path) -> LoadedModel:
    values = {"engine": "fake", "model": str(demo_directory)}
    settings = Settings({name: Setting(value, "flag") for name, value in values.items()})
    return LoadedModel(LoadOptions(settings, offline=True), Machine(), Streams.test())


def test_a_model_that_is_not_there_leaves_the_loaded_one(resident: LoadedModel) -> None:
    engine = resident.engine()
    with pytest.raises(ModelNotFound):
        resident.switch("nonsense")
    assert resident.engine() is engine


def test_another_model_has_no_draft_of_the_old_one(demo_directory: Path, tmp_path: Path) -> None:
    other, streams = tmp_path / "other", Streams.test()
    other.symlink_to(demo_directory)
    values = {"engine": "fake", "model": str(demo_directory), "draft_tokens": 6}
    settings = {name: Setting(value, "flag") for name, value in values.items()}
    settings["draft"] = Setting("8b", "user")  # left out, as the fake engine drafts nothing
    resident = LoadedModel(LoadOptions(Settings(settings), offline=True), Machine(), streams)
    resident.switch(str(other))
    said = streams.stderr.getvalue().decode()  # type: ignore[attr-defined]
    assert "tulu: the draft 8b is of the model before, and left out." in said


def test_a_model_that_cannot_be_loaded_leaves_the_old_one_chosen(
    resident: LoadedModel, demo_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.symlink_to(demo_directory)

    def refuse(_spec: object) -> fake.FakeEngine:
        raise EngineError("It cannot be loaded.")

    name = resident.name
    with monkeypatch.context() as patch:
        patch.setattr(fake, "load", refuse)
        with pytest.raises(EngineError):
            resident.switch(str(other))
    assert resident.name == name
    assert resident.info.engine == "fake"
    resident.switch(str(other))
    assert resident.name == "other"


def test_a_reply_that_was_cut_is_said(stage: Stage) -> None:
    said = stage.play("fake: words 90", max_tokens=5)
    assert "The answer was cut at 5 tokens: /continue goes on." in said.err


def test_the_system_prompt_is_given_once_in_every_turn(stage: Stage) -> None:
    said = stage.play("/system Only once.", "fake: say one", "fake: say two")
    decode = said.chat.model.prepared.token_model().tokenizer.decode
    prompts = [decode(request.prompt_token_ids) for request in stage.requests]
    assert [prompt.count("Only once.") for prompt in prompts] == [1, 1]
    assert contents(said)[1::2] == ["one", "two"]


def test_a_ctrl_c_just_before_the_prompt_does_not_stop_what_is_sent_from_it(stage: Stage) -> None:
    said = stage.play("fake: say here", hasty=True)
    assert contents(said) == ["fake: say here", "here"]
    assert "here" in said.out
