"""A conversation that is longer than the context: never cut in silence, the system prompt never."""

from pathlib import Path

import pytest

from tests.program import tulu

from .conftest import OpenChat
from .stored import path

CONTEXT = ("--max-model-len", "160", "-s", "Keep this.")
TURNS = [f"fake: say {word} {'la ' * 20}" for word in ("alpha", "beta", "gamma", "delta")]


def test_a_terminal_is_asked(open_chat: OpenChat, data: Path) -> None:
    chat = open_chat(*CONTEXT)
    chat.until_prompt()
    for turn in TURNS[:2]:
        chat.say(turn)
        chat.until_prompt()
    chat.say(TURNS[2])
    seen = chat.until("[y/N]")
    assert "it is over by" in seen
    assert 'Drop the 2 oldest turns ("fake: say alpha' in seen
    chat.say("n")
    chat.until("Nothing was sent")
    chat.until_prompt()
    chat.say("/retry")
    chat.until(lambda: chat.text().count("[y/N]") == 2)
    chat.say("y")
    chat.until("\ngamma")
    chat.until("2 turns left out")
    chat.say(TURNS[3])
    chat.until("\ndelta")
    assert chat.text().count("[y/N]") == 2, "asked once, and told each time"
    chat.leave()
    assert len(path(data)) == 8, "what the model did not see is not lost"


def piped(directory: Path, data: Path, *arguments: str, turns: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a chat in a pipe."""
    given = ("chat", "-m", str(directory), "--engine", "fake", *CONTEXT, *arguments)
    text = "".join(f"{turn}\n" for turn in turns).encode()
    done = tulu(*given, stdin=text, env={"TULU_DATA_DIR": str(data)})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_script_is_refused_with_the_numbers(demo_directory: Path, data: Path) -> None:
    code, out, err = piped(demo_directory, data, turns=TURNS)
    assert code == 6
    assert "gamma" not in out
    assert "it is over by" in err
    assert "--overflow drop-oldest would leave out the 2 oldest turns" in err


def test_drop_oldest_names_what_it_leaves_out_and_keeps_the_system_prompt(
    demo_directory: Path, data: Path
) -> None:
    asked = [*TURNS, "/stats"]
    code, out, err = piped(demo_directory, data, "--overflow", "drop-oldest", turns=asked)
    assert code == 0
    assert "delta" in out
    assert 'Left out, to fit in 160 tokens: the 2 oldest turns ("fake: say alpha' in err
    tokens = int(out.split("last answer")[1].split()[0])
    assert tokens <= 160 - 20, "room is left for the answer"


@pytest.mark.parametrize("policy", ["error", "drop-oldest"])
def test_what_can_never_fit_is_refused(demo_directory: Path, data: Path, policy: str) -> None:
    turns = ["word " * 400]
    code, out, err = piped(demo_directory, data, "--overflow", policy, turns=turns)
    assert (code, out) == (6, "")
    assert "it is over by" in err
