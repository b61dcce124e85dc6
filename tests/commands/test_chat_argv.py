"""From argv to options: what each flag of `tulu chat` means."""

from typing import Any

import pytest

from tulu_cli.chat.run import ChatOptions
from tulu_cli.cli import main
from tulu_cli.settings import KEYS
from tulu_cli.streams import Streams


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from argv to the options that `run` is given."""
    seen: list[ChatOptions] = []

    def run(chosen: ChatOptions, *_: Any) -> int:
        seen.append(chosen)
        return 7

    for key in KEYS:
        monkeypatch.delenv(f"TULU_{key.name.upper()}", raising=False)
    monkeypatch.setenv("TULU_CONFIG", "/dev/null")
    monkeypatch.setattr("tulu_cli.chat.run.run", run)
    monkeypatch.setattr(Streams, "standard", Streams.test)

    def parse(*arguments: str) -> ChatOptions:
        assert main.run(["chat", *arguments]) == 7, "what run returns is the exit code"
        return seen.pop()

    return parse


def test_nothing_given_is_nothing_set(options: Any) -> None:
    chosen = options()
    assert chosen == ChatOptions(chosen.load)
    assert chosen.load.settings.values == {}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--session", "work"], "session", "work"),
        (["--continue"], "continue_last", True),
        (["-c"], "continue_last", True),
        (["--resume", "ab12"], "resume", "ab12"),
        (["--no-history"], "no_history", True),
        (["--incognito"], "no_history", True),
        (["--plain"], "plain", True),
        (["--overflow", "drop-oldest"], "overflow", "drop-oldest"),
        (["--stop", "a", "--stop", "b"], "stop", ("a", "b")),
        (["--ignore-eos"], "ignore_eos", True),
        (["--allow-special"], "allow_special", True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_flag(options: Any, arguments: list[str], name: str, value: Any) -> None:
    assert getattr(options(*arguments), name) == value


def test_the_settings_are_those_of_complete(options: Any) -> None:
    settings = options("-m", "8b", "-s", "Be brief.", "--greedy", "--seed", "7").load.settings
    found = {name: setting.value for name, setting in settings.values.items()}
    assert found == {"model": "8b", "system": "Be brief.", "temperature": 0.0, "seed": 7}
