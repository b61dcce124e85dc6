"""A prompt read back: the inverse of rendering, and an error for what no rendering gives."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tulu_cli.core import Conversation, Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.builtin import CARD_EXAMPLE, Templates, tulu_templates
from tulu_cli.prompt.inspect.grammar import role_markers
from tulu_cli.prompt.inspect.parse import parse_prompt
from tulu_cli.prompt.inspect.writer import PromptWriter

from .pairs import Pair, turns
from .strategies import nasty
from .synthetic import CHATML, LLAMA2

TULU = PromptWriter(tulu_templates())
WHITE = st.sampled_from(["", " ", "\n", "\n\n", "\r\n", "\n<|", "|>\n", "<|user", "user|>\n"])
contents = st.one_of(nasty, WHITE, st.tuples(WHITE, nasty, WHITE).map("".join))


def parsed(text: str, writer: PromptWriter = TULU) -> Conversation:
    return parse_prompt(text, writer.grammar, writer.render)


def speak(roles: list[str], said: list[str]) -> Conversation:
    return tuple(Message(role, text) for role, text in zip(roles, said, strict=False))


def has_marker(messages: Conversation, writer: PromptWriter) -> bool:
    """Whether the condition of the inverse does not hold."""
    control = writer.vocabulary.control_texts
    markers = (*role_markers(writer.grammar, control), *control.texts)
    return any(marker in message.content for message in messages for marker in markers)


@given(
    roles=st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=1, max_size=6),
    said=st.lists(contents, min_size=6, max_size=6),
    asked=st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_parsing_is_the_inverse(roles: list[str], said: list[str], asked: bool) -> None:
    messages = speak(roles, said)
    assume(not has_marker(messages, TULU))
    assert parsed(TULU.render(messages, asked=asked)) == messages


@pytest.mark.parametrize("kind", ["demo", "chatml", "phi"])
@given(said=st.lists(contents, min_size=1, max_size=6), asked=st.booleans())
@settings(deadline=None, max_examples=60)
def test_of_other_templates_too(
    pairs: dict[str, Pair], kind: str, said: list[str], asked: bool
) -> None:
    writer = PromptWriter(pairs[kind].ours)
    messages = tuple(turns(*said))
    assume(not has_marker(messages, writer))
    assert parsed(writer.render(messages, asked=asked), writer) == messages


@pytest.mark.parametrize(
    "name", ["gemma", "llama3", "phi3", "qwen2_5", "cohere", "vllm_chatml", "lfm2"]
)
def test_published_templates(templates: dict[str, str], name: str) -> None:
    named = {"bos_token": "<bos>", "eos_token": "<eos>"}
    writer = PromptWriter(Templates({"default": templates[name]}, named))
    for messages in (turns("Hi"), turns("Hi", "Hello\n\nthere", "Bye", "x")):
        for asked in (False, True):
            assert parsed(writer.render(messages, asked=asked), writer) == tuple(messages)


def test_stripped_contents_are_read_as_they_are_written() -> None:
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    writer = PromptWriter(Templates({"default": LLAMA2}, named))
    text = writer.render(turns(" Hi ", " Hello "), asked=False)
    assert parsed(text, writer) == tuple(turns("Hi", "Hello"))


def test_the_example_of_the_card() -> None:
    assert parsed(TULU.text(CARD_EXAMPLE)) == CARD_EXAMPLE


def test_an_empty_answer_is_told_from_a_generation_prompt(templates: dict[str, str]) -> None:
    empty = tuple(turns("Hi", ""))
    assert parsed(TULU.text(empty)) == empty
    # Where both are the same text, there is no answer.
    writer = PromptWriter(Templates({"default": templates["vllm_chatml"]}, {}))
    assert writer.render(empty, asked=False) == writer.render(empty[:1], asked=True)
    assert parsed(writer.text(empty), writer) == empty[:1]


def test_an_open_answer_is_a_message() -> None:
    assert parsed("<|user|>\nHi\n<|assistant|>\nI thi") == tuple(turns("Hi", "I thi"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Hello", r"not a prompt of this chat template\.$"),
        ("<|user|>\nHi", r"from character 11 on \(''\)"),
        ("<|user|>\nHi\n<|assistant|>\nA<|end_of_text|>\n", r"from character 42 on \('\\n'\)"),
        ("<|user|>\nHi\n<|assistant|>\nA<|end_of_text|>x<|user|>\nB\n", "from character 42 on"),
        ("\n<|user|>\nHi\n", "not a prompt"),
    ],
)
def test_what_is_no_prompt(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        parsed(text)


def test_a_template_that_refuses_everything() -> None:
    writer = PromptWriter(Templates({"default": "{{ raise_exception('No.') }}"}, {}))
    with pytest.raises(BadInput, match="refuses all"):
        parsed("x", writer)


def test_a_template_without_marks() -> None:
    writer = PromptWriter(Templates({"default": "{{ messages[0].content }}"}, {}))
    with pytest.raises(BadInput, match="marks no turns"):
        parsed("some text", writer)


def test_a_default_system_message_is_not_one_of_the_conversation() -> None:
    writer = PromptWriter(Templates({"default": CHATML}, {}))
    assert parsed(writer.text(turns("Hi")), writer) == tuple(turns("Hi"))
    own = (Message("system", "S"), *turns("Hi"))
    assert parsed(writer.text(own), writer) == own
