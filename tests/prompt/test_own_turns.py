"""What a template says by itself, before the first message, is a system turn and no user's."""

from collections.abc import Sequence
from typing import Any

import pytest

from tulu_cli.core import Message
from tulu_cli.prompt.builtin import Templates
from tulu_cli.prompt.inspect.writer import PromptWriter

from .pairs import turns

SAYS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Qwen2.5.
DEFAULT = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Q.<|im_end|>\n{% endif %}"
    + SAYS
)
# As Llama 3.1: the date is in a system turn that is always there.
DATED = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set s = '' %}{% endif %}"
    "<|h|>system<|/h|>\n\nToday Date: 26 Jul 2024\n\n{{ s }}<|eot|>"
    "{% for m in messages %}<|h|>{{ m.role }}<|/h|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|h|>assistant<|/h|>\n\n{% endif %}"
)
# As Llama 2: the system text is a part of the first user turn, and so is a default one.
MERGED = (
    "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}"
    "{% set messages = messages[1:] %}{% else %}{% set s = 'Be kind.' %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] "
    "{% if loop.first %}<<SYS>>{{ s }}<</SYS>>\n\n{% endif %}{{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
# As Vicuna: no role names the preamble.
PREAMBLE = (
    "{{ bos_token }}A chat between a user and an assistant. {% for m in messages %}"
    "{% if m.role == 'user' %}USER: {{ m.content }} {% else %}"
    "ASSISTANT: {{ m.content }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
BEGIN = "{{ bos_token }}" + SAYS
STRIPPING = DEFAULT.replace("m.content }}", "m.content | trim }}")
FORGETFUL = DEFAULT.replace(
    "{{ m.content }}",
    "{% if loop.last and m.role == 'assistant' %}<think>{% endif %}{{ m.content }}",
)
CHANGING = "Of {{ messages | length }} messages.\n" + SAYS
TOOLS = DEFAULT.replace("You are Q.", "You are Q.{{ tools }}")


def parts(source: str, messages: Sequence[Message], **options: Any) -> list[tuple[str, str]]:
    """The role and the text of each turn of a prompt."""
    templates = Templates({"default": source}, {"bos_token": "<s>"})
    writer = PromptWriter(templates, **options)
    text = writer.text(messages)
    anatomy = writer.anatomy(messages)
    assert writer.anatomy(messages) == anatomy
    assert "".join(text[turn.start : turn.end] for turn in anatomy.turns) == text
    return [(turn.role, text[turn.start : turn.end]) for turn in anatomy.turns]


@pytest.mark.parametrize(
    ("source", "own"),
    [
        (DEFAULT, "<|im_start|>system\nYou are Q.<|im_end|>\n"),
        (STRIPPING, "<|im_start|>system\nYou are Q.<|im_end|>\n"),
        (FORGETFUL, "<|im_start|>system\nYou are Q.<|im_end|>\n"),
        (DATED, "<s><|h|>system<|/h|>\n\nToday Date: 26 Jul 2024\n\n<|eot|>"),
        (PREAMBLE, "<s>A chat between a user and an assistant. "),
    ],
)
def test_a_turn_of_the_templates_own_is_a_system_turn(source: str, own: str) -> None:
    for talk in (turns("Hi"), turns("Hi", "Ho"), turns("Hi", "Ho", "Hu")):
        told = parts(source, talk)
        assert told[0] == ("system", own)
        assert [role for role, _ in told[1 : len(talk) + 1]] == [m.role for m in talk]
        assert "Hi" in told[1][1]


@pytest.mark.parametrize("source", [DEFAULT, DATED, MERGED, BEGIN])
def test_a_system_message_stays_as_it_is(source: str) -> None:
    told = parts(source, [Message("system", "Be brief."), *turns("Hi", "Ho")])
    assert [role for role, _ in told] == ["system", "user", "assistant"]
    # Merged into the user's turn, it is a part of that.
    assert "Be brief." in told[source == MERGED][1]


@pytest.mark.parametrize("source", [MERGED, BEGIN, CHANGING])
def test_what_belongs_to_the_users_turn_is_the_users(source: str) -> None:
    told = parts(source, turns("Hi", "Ho", "Hu"))
    roles = [role for role, _ in told if role != "generation prompt"]
    assert roles in (["user", "assistant", "user"], [])


def test_an_assistant_that_speaks_first_has_no_default_either() -> None:
    told = parts(DEFAULT, [Message("assistant", "Hello"), Message("user", "Hi")])
    assert [role for role, _ in told][:3] == ["system", "assistant", "user"]


def test_tools_are_in_the_templates_own_turn() -> None:
    told = parts(TOOLS, turns("Hi"), tools=[{"name": "weather"}])
    assert told[0][0] == "system"
    assert "weather" in told[0][1]
    assert told[1] == ("user", "<|im_start|>user\nHi<|im_end|>\n")
