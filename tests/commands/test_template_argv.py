"""From argv to options of `tulu template`: what each flag means."""

from typing import Any

import pytest

from tulu_cli.cli import main
from tulu_cli.commands.template import render
from tulu_cli.commands.template._options import (
    Input,
    PromptOptions,
    RenderOptions,
    TemplateSource,
    read_input,
)
from tulu_cli.errors import UsageError
from tulu_cli.streams import Streams


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from argv to the options that `run` is given."""
    seen: list[PromptOptions] = []
    monkeypatch.setenv("TULU_CONFIG", "/dev/null")
    monkeypatch.setattr(render, "run", lambda chosen, _streams: seen.append(chosen))
    monkeypatch.setattr(Streams, "standard", Streams.test)

    def parse(*arguments: str) -> PromptOptions:
        assert main.run(["template", "render", *arguments]) == 0
        return seen.pop()

    return parse


def test_nothing_given_is_nothing_set(options: Any) -> None:
    assert options() == PromptOptions()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "8b"], {"source": TemplateSource(model="8b")}),
        (["--template", "t"], {"source": TemplateSource(template="t")}),
        (["--tokenizer", "d"], {"source": TemplateSource(tokenizer="d")}),
        (["--eos", "e", "--bos", "b"], {"source": TemplateSource(eos="e", bos="b")}),
        (["--card"], {"source": TemplateSource(card=True)}),
        (["--offline"], {"source": TemplateSource(offline=True)}),
        (["--add-generation-prompt"], {"rendering": RenderOptions(add_generation_prompt=True)}),
        (["--no-add-generation-prompt"], {"rendering": RenderOptions(add_generation_prompt=False)}),
        (["--continue-final"], {"rendering": RenderOptions(continue_final=True)}),
        (
            ["--kwarg", "a=[1]", "--kwarg", "b=x"],
            {"rendering": RenderOptions(kwargs={"a": [1], "b": "x"})},
        ),
        (
            ["--kwarg", "a=True", "--kwarg", "b=False", "--kwarg", "c=None", "--kwarg", 'd="None"'],
            {"rendering": RenderOptions(kwargs={"a": True, "b": False, "c": None, "d": "None"})},
        ),
        (["--allow-special"], {"rendering": RenderOptions(allow_special=True)}),
        (["--strict-roles"], {"rendering": RenderOptions(strict_roles=True)}),
        (["-s", "S"], {"system": "S"}),
        (["-s", "none"], {"system": None}),
        (["--json"], {"json_output": True}),
        (["--jobs", "3"], {"jobs": 3}),
        (["--from", "pairs"], {"source_format": "pairs"}),
        (["-v"], {"verbose": True}),
        (["a", "b"], {"given": Input(texts=("a", "b"))}),
        (["-"], {"given": Input(file="-")}),
        (["a.jsonl"], {"given": Input(file="a.jsonl")}),
        (["-f", "a"], {"given": Input(file="a")}),
    ],
)
def test_flags(options: Any, arguments: list[str], expected: dict[str, Any]) -> None:
    assert options(*arguments) == PromptOptions(**expected)


@pytest.mark.parametrize("arguments", [["-", "x"], ["a.json", "b"], ["A.JSON", "b"]])
def test_a_file_and_texts_exclude_one_another(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="cannot be combined"):
        read_input(arguments, None)
