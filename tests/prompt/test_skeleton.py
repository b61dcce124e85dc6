"""Prompts by filling in are those of the template; one that looks at contents is found out."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.prompt.builtin import Templates, tulu_template, tulu_templates
from tulu_cli.prompt.inspect.formats import PlainRow
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.opaque import copies_content

from .pairs import turns
from .published import NAMES
from .strategies import nasty
from .synthetic import CHATML, LLAMA2, PHI

COPYING = (
    *("gemma", "gemma3", "llama3", "phi3", "qwen2_5_vl", "gemma_training", "llama3_training"),
    *("vllm_basic", "vllm_blip2", "vllm_chatml", "vllm_deepseek_ocr"),
)
LOOKING = {
    "test": "{% for m in messages %}{% if m.content %}x{% endif %}{% endfor %}",
    "comparison": "{% for m in messages %}{{ 'x' if m.content == 'a' }}{% endfor %}",
    "membership": "{% for m in messages %}{{ 'x' if 'a' in m['content'] }}{% endfor %}",
    "filter": "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    "cut": "{% for m in messages %}{{ m.content[:2] }}{% endfor %}",
    "method": "{% for m in messages %}{{ m.content.split('x')[0] }}{% endfor %}",
    "strip of more": "{% for m in messages %}{{ ('x ' + m.content) | trim }}{% endfor %}",
    "strip of letters": "{% for m in messages %}{{ m.content.strip('x') }}{% endfor %}",
    "json": "{{ messages | tojson }}",
    "message": "{% for m in messages %}{{ m }}{% endfor %}",
    "repeat": "{% for m in messages %}{{ m.content * 2 }}{% endfor %}",
    "format": "{% for m in messages %}{{ '%s' % m.content }}{% endfor %}",
    "length": "{% for m in messages %}{{ m.content | length }}{% endfor %}",
    "items": "{% for m in messages %}{% for k, v in m.items() %}{{ v }}{% endfor %}{% endfor %}",
    "select": "{{ messages | map(attribute='content') | join }}",
    "variable": "{% set c = messages[0].content %}{% if c %}x{% endif %}",
    "late variable": (
        "{% set c = '' %}{% for m in messages %}{% if c %}x{% endif %}"
        "{% set c = m.content %}{% endfor %}"
    ),
    "namespace": (
        "{% set n = namespace(c='') %}{% for m in messages %}{% if n.c %}x{% endif %}"
        "{% set n.c = m.content %}{% endfor %}"
    ),
    "other name of a namespace": (
        "{% set n = namespace(c='') %}{% for m in messages %}{% set n.c = m.content %}{% endfor %}"
        "{% set o = n %}{{ o.c | length }}"
    ),
    "other name of a loop": (
        "{% for m in messages %}{% set l = loop %}{{ l.previtem.content | length }}{% endfor %}"
    ),
    "previous": "{% for m in messages %}{{ loop.previtem.content | length }}{% endfor %}",
    "changed": "{% for m in messages %}{{ loop.changed(m.content) }}{% endfor %}",
    "macro": "{% macro f(m) %}{{ m.content | length }}{% endmacro %}{{ f(messages[0]) }}",
    "block": "{% set x %}{{ messages[0].content }}{% endset %}{{ x | length }}",
    "clock": "{{ strftime_now('%Y') }}",
    "chance": "{{ [1, 2] | random }}",
    "complaint": "{{ raise_exception(messages[0].content) }}",
    "or": "{{ messages[0].content or 'x' }}",
    "else of a variable": (
        "{% for m in messages %}{% if x %}{% set c = m.content %}{% endif %}"
        "{% if c is string %}a{% else %}{{ m.content | upper }}{% endif %}{% endfor %}"
    ),
    "else of a namespace": (
        "{% set n = namespace(c=none) %}{% for m in messages %}"
        "{% if n.c is string %}a{% else %}{{ m.content | upper }}{% endif %}"
        "{% set n.c = m.content %}{% endfor %}"
    ),
    "else of another loop": (
        "{% for m in messages %}{{ m.content }}{% endfor %}{% for m in tools %}"
        "{% if m.content is string %}a{% else %}{{ messages[0].content | upper }}{% endif %}"
        "{% endfor %}"
    ),
    "list": "{{ [messages[0].content] | length }}",
    "key": "{{ messages[0][messages[0].role] }}",
}


@pytest.mark.parametrize("name", LOOKING)
def test_looking_is_found(name: str) -> None:
    assert not copies_content(LOOKING[name])


@pytest.mark.parametrize("source", [tulu_template(), CHATML, LLAMA2, PHI])
def test_copying_is_known(source: str) -> None:
    assert copies_content(source)


def test_which_published_templates_copy(templates: dict[str, str]) -> None:
    assert {name for name in COPYING if not copies_content(templates[name])} == set()


def test_a_broken_template_is_no_copying_one() -> None:
    assert not copies_content("{% if %}")


def outcome(render: Callable[[], str]) -> str:
    try:
        return render()
    except BadInput:
        return "refused"


roles = st.lists(st.sampled_from(["system", "user", "assistant", "tool", "x"]), min_size=1)
alternating = st.integers(1, 6).map(lambda count: (["user", "assistant"] * 3)[:count])


@given(data=st.data(), roles=st.one_of(alternating, roles.map(lambda many: many[:5])))
@settings(deadline=None, max_examples=40)
def test_filled_in_is_rendered(templates: dict[str, str], data: Any, roles: list[str]) -> None:
    """Over all templates at once, so that each conversation is tried with every one."""
    messages = [
        Message(role, data.draw(nasty | st.sampled_from(["", " ", "\n x "]))) for role in roles
    ]
    values = [{"role": message.role, "content": message.content} for message in messages]
    named = {"bos_token": "<s>", "eos_token": "</s>"}
    sources = [tulu_template(), CHATML, LLAMA2, PHI, *(templates[name] for name in NAMES)]
    for source in filter(copies_content, sources):
        writer = PromptWriter(Templates({"default": source}, named))
        expected = outcome(lambda w=writer: w.render(messages, asked=w.asks(messages)))  # type: ignore[misc]
        assert outcome(lambda w=writer: w.text(messages)) == expected  # type: ignore[misc]
        assert outcome(lambda w=writer: w.text_of_row(PlainRow(values))) == expected  # type: ignore[misc]


def test_contents_side_by_side_are_stripped_each_for_itself() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content | trim }}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    assert copies_content(source)
    assert PromptWriter(Templates({"default": source}, {})).text(turns(" a ", " b ", " c ")) == (
        "a b c"
    )


def test_an_else_that_no_content_reaches_may_look() -> None:
    source = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}"
        "{% else %}{{ m.content[0].text }}{% endif %}{% endfor %}"
    )
    assert copies_content(source)


def test_stand_ins_in_the_template_or_its_tokens_are_no_slots() -> None:
    for source, eos in (("{{ messages[0].content }}\U000f0000", ""), (tulu_template(), "\u2003")):
        writer = PromptWriter(Templates({"default": source}, {"eos_token": eos}))
        assert writer.text(turns("a")) == writer.render(turns("a"), asked=True)
        assert "a" in writer.text(turns("a"))


def test_stand_ins_in_contents_and_roles_are_contents_and_roles() -> None:
    writer = PromptWriter(tulu_templates())
    text = writer.text(turns("\u2003\U000f0001\u2002", "\U000f0000"))
    assert text.count("\U000f0000") == text.count("\U000f0001") == 1
    odd = PromptWriter(
        Templates({"default": "{{ messages[0].role }}{{ messages[0].content }}"}, {})
    )
    assert odd.text([Message("\U000f0000", "x")]) == "\U000f0000x"


def test_empty_conversation_and_names_that_are_taken() -> None:
    with pytest.raises(BadInput, match="empty"):
        PromptWriter(tulu_templates()).text([])
    with pytest.raises(Exception, match="cannot be named messages"):
        PromptWriter(tulu_templates(), kwargs={"messages": []}).text(turns("a"))


@pytest.mark.parametrize(
    ("options", "role", "asked"),
    [
        ({}, "user", True),
        ({}, "assistant", False),
        ({"add_generation_prompt": True}, "assistant", True),
        ({"add_generation_prompt": False}, "user", False),
        ({"continue_final": True}, "user", False),
    ],
)
def test_when_an_answer_is_asked_for(options: dict[str, Any], role: str, asked: bool) -> None:
    assert PromptWriter(tulu_templates(), **options).asks([Message(role, "x")]) is asked
