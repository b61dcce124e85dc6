"""A signal at the prompt ends the program, and never leaves it waiting for a lost terminal."""

import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from prompt_toolkit import PromptSession
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from tulu_cli.chat.line.line import ask

from .conftest import OpenChat

ENDING = (signal.SIGTERM, signal.SIGHUP)


def leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of the program."""
    before = {number: signal.signal(number, leave) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as made:
        yield made


@pytest.mark.parametrize("number", ENDING)
def test_it_is_not_raised_in_the_middle_of_the_loop(
    keys: PipeInput, number: signal.Signals
) -> None:
    finished: list[bool] = []

    def toolbar() -> str:
        if not finished:
            os.kill(os.getpid(), number)
            finished.append(True)
        return ""

    session: PromptSession[str] = PromptSession(
        input=keys, output=DummyOutput(), bottom_toolbar=toolbar
    )
    with pytest.raises(SystemExit) as caught:
        ask(session)
    assert caught.value.code == 128 + number
    assert finished, "what was being computed went on to its end"
    assert signal.getsignal(number) is leave


def test_one_that_comes_before_the_loop_is_not_lost(keys: PipeInput) -> None:
    class Slow(PromptSession[str]):
        def prompt(self, *given: Any, **options: Any) -> str:
            os.kill(os.getpid(), signal.SIGHUP)
            return super().prompt(*given, **options)

    with pytest.raises(SystemExit) as caught:
        ask(Slow(input=keys, output=DummyOutput()))
    assert caught.value.code == 129


def test_without_a_signal_the_answer_comes_and_nothing_has_changed(keys: PipeInput) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    keys.send_text("hello\r")
    assert ask(PromptSession(input=keys, output=DummyOutput()), "? ") == "hello"
    assert signal.getsignal(signal.SIGTERM) is leave
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_terminal_that_hangs_up_ends_the_chat(open_chat: OpenChat) -> None:
    chat = open_chat()
    chat.until_prompt()
    assert chat.hang_up() == 128 + signal.SIGHUP
