"""Thoughts are told from answers: by the model's own templates, and however the text comes."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tulu_cli.core import Message, ThoughtFormat
from tulu_cli.errors import UsageError
from tulu_cli.prompt import Tokenizer
from tulu_cli.prompt.thinking import (
    ThoughtStream,
    check_variables,
    thinking_prompt,
    thought_format,
    thoughts_after,
)

HABITS = Path(__file__).parent / "habits"
CLOSING = "\n</think>\n\n"
THINK = ThoughtFormat("<think>", "</think>", closing=CLOSING)
OPEN = replace(THINK, is_open=True)
CLOSED = replace(THINK, is_closed=True)
CHANNEL = ThoughtFormat("<|channel>thought", "<channel|>", closing="<channel|>")


def told(thoughts: ThoughtFormat, *pieces: str) -> tuple[str, str]:
    """The thought and the answer of a text that comes in these pieces."""
    stream = ThoughtStream(thoughts)
    parts = [*map(stream.push, pieces), stream.finish()]
    return "".join(thought for thought, _ in parts), "".join(answer for _, answer in parts)


# What models of these families write behind the generation prompts of their templates.
@pytest.mark.parametrize(
    ("thoughts", "text", "expected"),
    [
        # Qwen3, which begins the thought itself; and told not to think, behind an empty one.
        (THINK, "<think>\nOkay, 2 + 2.\n</think>\n\nIt is 4.", ("Okay, 2 + 2.", "It is 4.")),
        (THINK, "<think>\n\n</think>\n\nIt is 4.", ("", "It is 4.")),
        (THINK, "It is 4.", ("", "It is 4.")),
        # R1 distils, whose template ends with `<think>\n`; some repeat it.
        (OPEN, "Okay, 2 + 2.\n</think>\n\nIt is **4**.", ("Okay, 2 + 2.", "It is **4**.")),
        (OPEN, "<think>\nOkay.\n</think>\n\nIt is 4.", ("Okay.", "It is 4.")),
        (OPEN, "\n\n</think>\n\nIt is 4.", ("", "It is 4.")),
        # OLMo 3 Think, whose template ends with `<think>` alone.
        (OPEN, "\nSo, a + b.\n\nYes.</think>\nIt is 4.\n", ("So, a + b.\n\nYes.", "It is 4.\n")),
        # A thought that never closes is a thought, and its end may look like one that does.
        (OPEN, "Wait. </thin", ("Wait. </thin", "")),
        (THINK, "<think>\nWait.\n\n", ("Wait.", "")),
        (OPEN, "", ("", "")),
        # Signs that stand where no thought is are text, and so is what only begins like one.
        (THINK, "Write <think>x</think>.", ("", "Write <think>x</think>.")),
        (THINK, " \n<thin", ("", " \n<thin")),
        (THINK, "\n <think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
        (OPEN, "a</think>\n\n    code", ("a", "    code")),
        (OPEN, "a</ think></think>b", ("a</ think>", "b")),
        (CHANNEL, "<|channel>thought\nHm.<channel|>So.", ("Hm.", "So.")),
    ],
)
def test_the_thought_and_the_answer(
    thoughts: ThoughtFormat, text: str, expected: tuple[str, str]
) -> None:
    assert told(thoughts, text) == expected
    assert told(thoughts, *text) == expected


SIGNS = ("<think>", "</think>", "\n", "<", "</", "think>", " ", "a", "é")


@given(
    st.sampled_from([THINK, OPEN]),
    st.lists(st.sampled_from(SIGNS), max_size=12),
    st.lists(st.integers(0, 80), max_size=8),
)
@example(OPEN, ["\n", "</", "a", "</think>", "\n", "a"], [1, 2])
def test_any_cut_of_the_text_gives_the_same_two(
    thoughts: ThoughtFormat, parts: list[str], cuts: list[int]
) -> None:
    text = "".join(parts)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(places)]
    assert told(thoughts, *pieces) == told(thoughts, text) == told(thoughts, *text)


@given(st.sampled_from([THINK, OPEN]), st.lists(st.sampled_from(SIGNS), max_size=12))
def test_nothing_but_signs_and_line_ends_is_lost(thoughts: ThoughtFormat, parts: list[str]) -> None:
    text = "".join(parts)
    thought, answer = told(thoughts, text)
    rest = text.replace("\n", "")
    for sign in ("<think>", "</think>"):
        if "".join((thought, answer)).count(sign) < rest.count(sign):
            rest = rest.replace(sign, "", 1)
    # Blanks before a thought's first sign are not a text of anybody's.
    assert (thought + answer).replace("\n", "").strip() == rest.strip()


@pytest.mark.parametrize("end", ["", "\n", " "])
def test_what_may_be_shown_is_shown_at_once(end: str) -> None:
    stream = ThoughtStream(OPEN)
    assert stream.push("So") == ("So", "")
    assert stream.push(" it" + end) == (" it" + end.replace("\n", ""), "")
    assert stream.channel == "thought"
    assert stream.push("</think>4") == ("", "4")
    assert (stream.channel, stream.has_ended, stream.is_over) == ("answer", True, True)


def source(name: str) -> str:
    return (HABITS / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen3", THINK),
        ("deepseek_r1", THINK),
        ("glm", THINK),
        ("chatml", None),
        ("llama3", None),
        ("tulu", None),
    ],
)
def test_the_template_says_whether_a_model_thinks(
    name: str, expected: ThoughtFormat | None
) -> None:
    assert thought_format({"default": source(name)}) == expected


def response_template(**fields: Any) -> dict[str, Any]:
    start = {"start_anchor": "<|im_start|>assistant\n", "defaults": {"role": "assistant"}}
    return {**start, "fields": {"content": {}, **fields}}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (
            response_template(thinking={"open": "<|channel>thought\n", "close": "<channel|>"}),
            CHANNEL,
        ),
        (
            response_template(reasoning_content={"open": ["[T]"], "close": ["\n[/T]"]}),
            ThoughtFormat("[T]", "[/T]", closing="\n[/T]"),
        ),
        # What is not two texts is not guessed: the chat template decides.
        (response_template(thinking={"open_pattern": "<t.*?>", "close": "</t>"}), None),
        (response_template(thinking={"open": ["<a>", "<b>"], "close": "</a>"}), None),
        (response_template(thinking={"close": "</t>"}), None),
        (
            response_template(
                thinking={"open": "<t>", "close": "</t>"}, content={"open": "<answer>"}
            ),
            None,
        ),
        (response_template(), None),
        ({"fields": []}, None),
        ("<think>", None),
    ],
)
def test_a_response_template_says_how_a_thought_is_written(
    told: Any, expected: ThoughtFormat | None
) -> None:
    assert thought_format({"default": source("chatml")}, told) == expected
    assert thought_format({"default": source("qwen3")}, told) == (expected or THINK)


def test_harmony_is_refused_by_name() -> None:
    simple = response_template(thinking={"open": "<|channel|>analysis<|message|>", "close": "<x>"})
    for told in (None, simple):
        with pytest.raises(UsageError, match=r"Harmony format, as gpt-oss does.*--server"):
            thought_format({"default": source("gpt_oss")}, told)


@pytest.fixture
def thinking(demo_directory: Path, tmp_path: Path) -> Any:
    """The demo's tokenizer with another chat template."""

    def make(template: str, told: Any = None) -> Tokenizer:
        (tmp_path / "tokenizer.json").write_bytes((demo_directory / "tokenizer.json").read_bytes())
        config = json.loads((demo_directory / "tokenizer_config.json").read_text())
        config |= {"chat_template": template, "response_template": told}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return Tokenizer.load(tmp_path)

    return make


ASKED = (Message("user", "Is <think> a tag?"),)


@pytest.mark.parametrize(
    ("name", "variables", "expected"),
    [
        ("qwen3", {}, THINK),
        ("qwen3", {"enable_thinking": True}, THINK),
        ("qwen3", {"enable_thinking": False}, CLOSED),
        ("deepseek_r1", {}, OPEN),
        ("chatml", {}, None),
    ],
)
def test_the_prompt_says_whether_the_thought_has_begun(
    thinking: Any, name: str, variables: dict[str, Any], expected: ThoughtFormat | None
) -> None:
    _, thoughts = thinking_prompt(thinking(source(name)), ASKED, variables=variables)
    assert thoughts == expected


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        ("<think>\nOkay, so", OPEN),
        ("<think>\n", OPEN),
        ("<think>a</think>\nSo", None),
        ("Sure", None),
        ("", THINK),
    ],
)
def test_an_answer_that_has_begun_may_be_inside_its_thought(
    thinking: Any, begun: str, expected: ThoughtFormat | None
) -> None:
    tokenizer = thinking(source("qwen3"))
    assert thoughts_after(tokenizer, tokenizer.encode_text("assistant\n"), begun) == expected


def test_a_response_template_is_read_from_the_model(thinking: Any) -> None:
    told = response_template(thinking={"open": "[T]", "close": "[/T]"})
    ids, thoughts = thinking_prompt(thinking(source("chatml"), told), ASKED)
    assert ids
    assert thoughts == ThoughtFormat("[T]", "[/T]", closing="[/T]")


def test_a_variable_that_no_template_reads_is_refused(thinking: Any) -> None:
    qwen, plain = thinking(source("qwen3")), thinking(source("chatml"))
    check_variables(qwen, ["enable_thinking", "messages"])
    with pytest.raises(UsageError, match=r"--think and --no-think would change nothing"):
        check_variables(plain, ["enable_thinking"])
    with pytest.raises(UsageError, match=r"--template-arg enable_thinkin_ would"):
        thinking_prompt(qwen, ASKED, variables={"enable_thinkin_": False})
