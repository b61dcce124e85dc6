"""Template choice, and the one sentence that a failing template becomes."""

from pathlib import Path

import pytest

from tulu_cli.core import Message
from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.prompt import Tokenizer, render_chat

from .pairs import Pair, turns
from .synthetic import byte_level, write

FAILING = {
    "{% if %}": "syntax error in line 1",
    "a\n{{ 1 +": "syntax error in line 2",
    "{% unknown %}": "syntax error",
    "{{ raise_exception('Roles must alternate!') }}": "refuses .* Roles must alternate!",
    "{{ a.b.c }}": "refuses .*'a' is undefined",
    "{{ messages[0].content + 1 }}": "fails .* TypeError",
    "{{ 1 // 0 }}": "fails .* ZeroDivisionError",
    "{{ messages.append(1) }}": "refuses .*",
    "{{ ''.__class__.__mro__ }}": "refuses .*unsafe",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "fails .* RecursionError",
    "{% for i in range(10**9) %}{% endfor %}": "fails .* OverflowError",
}


@pytest.mark.parametrize("source", FAILING)
def test_template_errors_are_one_sentence(tulu: Pair, source: str) -> None:
    with pytest.raises(BadInput, match=FAILING[source]) as error:
        render_chat(tulu.ours, turns("Hi"), template=source)
    assert str(error.value).startswith("The chat template")
    assert "\n" not in str(error.value)


def test_refusal_by_the_model_own_template(pairs: dict[str, Pair]) -> None:
    with pytest.raises(BadInput, match="Only user and assistant roles are supported!"):
        render_chat(pairs["llama2"].ours, [Message("system", "S"), *turns("Hi")])


def test_empty_conversation(tulu: Pair) -> None:
    with pytest.raises(BadInput, match="conversation is empty"):
        render_chat(tulu.ours, [])


def test_model_without_template(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write(tmp_path / "m", byte_level()))
    with pytest.raises(BadInput, match="--raw"):
        render_chat(tokenizer, turns("Hi"))
    assert render_chat(tokenizer, turns("Hi"), template="{{ messages | length }}") == "1"


def test_what_names_no_template_is_a_source(pairs: dict[str, Pair]) -> None:
    """A template without any Jinja is a plain text; who reads names has looked for a file."""
    assert render_chat(pairs["chatml"].ours, turns("Hi"), template="tool_use") != "tool_use"
    assert render_chat(pairs["chatml"].ours, turns("Hi"), template="Say A or B.") == "Say A or B."


@pytest.mark.parametrize(
    ("said", "end"),
    [("roles!", ": roles!"), ("No", ": No."), ("Why?", ": Why?"), ("", ": no reason given.")],
)
def test_a_refusal_is_a_sentence_with_one_end(tulu: Pair, said: str, end: str) -> None:
    with pytest.raises(BadInput) as caught:
        render_chat(tulu.ours, turns("Hi"), template=f"{{{{ raise_exception({said!r}) }}}}")
    assert str(caught.value) == f"The chat template refuses this conversation{end}"


LONG = {
    "a refusal": "{{ raise_exception('x ' * 50000) }}",
    "spaces": "{{ raise_exception(' ' * 50000 + 'x') }}",
    "an unknown name": "{{ " + "x" * 50000 + ".y }}",
    "a syntax error": "{% " + "x" * 50000 + " %}",
    "a key": "{{ {}['x' * 50000].y }}",
    "a failure": "{{ ('1' * 50000) | int(base='x' * 500) + [] }}",
    "a method": "{{ messages['x' * 50000]() }}",
}


@pytest.mark.parametrize("source", LONG.values(), ids=LONG)
def test_what_a_template_says_is_shortened(tulu: Pair, source: str) -> None:
    with pytest.raises(BadInput, match="The chat template") as caught:
        render_chat(tulu.ours, turns("Hi"), template=source)
    assert len(str(caught.value)) < 400


def test_named_templates_without_default(tmp_path: Path) -> None:
    directory = write(
        tmp_path / "m", byte_level(), chat_template={"rag": "{{ 1 }}", "b": "{{ 2 }}"}
    )
    with pytest.raises(BadInput, match=r"no default chat template.*\(the model has: b, rag\)"):
        render_chat(Tokenizer.load(directory), turns("Hi"))


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt"])
def test_variables_that_are_ours(tulu: Pair, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        render_chat(tulu.ours, turns("Hi"), kwargs={name: []})


@pytest.mark.parametrize(
    "template", ["{{ messages | length }} content", "{{ messages[0].content[:5] }}"]
)
def test_message_that_cannot_be_continued(tulu: Pair, template: str) -> None:
    with pytest.raises(TuluError, match="cannot be continued"):
        render_chat(tulu.ours, turns("Hi there"), continue_final=True, template=template)


def test_strftime_and_generation_block(tulu: Pair) -> None:
    source = (
        "{{ strftime_now('%Y') | length }}"
        "{% generation %}{% set x = 1 %}a{% endgeneration %}{{ x }}"
    )
    assert render_chat(tulu.ours, turns("Hi"), template=source) == "4a"


def test_tojson_is_not_escaped_for_html(tulu: Pair) -> None:
    source = "{{ messages | tojson }}{{ {'b': 1, 'a': 'é'} | tojson(indent=1, sort_keys=true) }}"
    text = render_chat(tulu.ours, turns("<é> & 'q'"), template=source)
    assert text == '[{"role": "user", "content": "<é> & \'q\'"}]{\n "a": "é",\n "b": 1\n}'
