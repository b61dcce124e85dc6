"""Every verb of `tulu template` on templates with many habits: an answer or one clear sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.prompt.habits import NAMES, model
from tests.prompt.habits.talks import tool
from tulu_cli.cli import main
from tulu_cli.errors import TuluError
from tulu_cli.streams import Streams

# Exit code, stdout and stderr.
Run = Callable[..., tuple[int, str, str]]

THINKING = [
    {"role": "user", "content": "Q1"},
    {"role": "assistant", "content": "<think>R</think>A1"},
    {"role": "user", "content": "Q2"},
]
CALLING = [
    {"role": "user", "content": "Q1"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": "b"}}}
        ],
    },
    {"role": "tool", "content": "R1", "tool_call_id": "c1"},
    {"role": "assistant", "content": "A1"},
]
TALKS: dict[str, dict[str, Any]] = {
    "thinking": {"messages": THINKING},
    "calling": {"messages": CALLING, "tools": [tool(("f", "About.", "a", "b", "a"))]},
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A verb as argv in this process; what is no TuluError is a traceback, and fails the test."""
    monkeypatch.setenv("TULU_CONFIG", "/dev/null")

    def verb(*arguments: str, stdin: str = "", tty: bool = False) -> tuple[int, str, str]:
        streams = Streams.test(stdin.encode(), tty=tty)
        streams.stdin_tty = False
        monkeypatch.setattr(Streams, "standard", lambda *_color: streams)
        said = ""
        try:
            code = main.run(["template", *arguments])
        except TuluError as error:
            code, said = error.exit_code, str(error)
        streams.stdout.seek(0)
        streams.stderr.seek(0)
        return code, streams.stdout.read().decode(), streams.stderr.read().decode() + said

    return verb


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", NAMES)
def test_verbs_on_a_conversation(run: Run, tmp_path: Path, name: str, talk: str) -> None:
    directory, file = str(model(tmp_path / "m", name)), tmp_path / "talk.json"
    file.write_text(json.dumps(TALKS[talk]))
    code, prompt, said = run("render", "-m", directory, str(file))
    assert (code, bool(prompt), bool(said)) in ((0, True, False), (65, False, True))
    refused = code
    for options in ([], ["--json"]):
        code, out, _ = run("tokens", "-m", directory, str(file), *options)
        assert code == refused
        assert bool(out) == (code == 0)
    code, table, _ = run("tokens", "-m", directory, str(file), tty=True)
    assert code == refused
    assert ("learnt" in table) == (code == 0)
    unknown = code == 0 and json.loads(out)["mask"] is None
    assert ("The loss mask is unknown: " in table) == unknown
    code, _, said = run("lint", "-m", directory, str(file))
    assert code in (0, 1, 65)
    assert said
    if prompt:
        code, parsed, said = run("parse", "-m", directory, stdin=prompt)
        assert (code, bool(parsed)) in ((0, True), (65, False))
        assert said or code == 0


@pytest.mark.parametrize("name", NAMES)
def test_verbs_on_the_template(run: Run, tmp_path: Path, name: str) -> None:
    directory = str(model(tmp_path / "m", name))
    code, shown, said = run("show", "-m", directory)
    assert (code, said) == (0, "")
    assert "{%" in shown
    code, _, said = run("lint", "-m", directory)
    assert code == ("0 errors" not in said)
    code, difference, said = run("diff", directory, "tulu")
    assert code == bool(difference)
    assert said.endswith("conversations are rendered differently.\n")
