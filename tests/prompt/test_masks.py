"""The loss mask and the turns of a prompt: transformers' where the template marks, else derived."""

from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings

from tulu_cli.core import Message
from tulu_cli.prompt.builtin import Templates, tulu_template
from tulu_cli.prompt.inspect.formats import Row
from tulu_cli.prompt.inspect.tokens import Explained, explain_row, loss_mask
from tulu_cli.prompt.inspect.writer import PromptWriter

from .habits import source
from .pairs import Pair, turns
from .published import MARKING
from .strategies import conversations, texts
from .synthetic import LLAMA2

TALK = turns("Hi <there>", "Hello\n", "\n\nAnd?", "Fine. 😀!", "", "x")
# The Tülu 3 template with the answers marked: the text is the same.
MARKED = tulu_template().replace(
    "{{- '<|assistant|>\\n' + message['content'] + eos_token -}}",
    "{{- '<|assistant|>\\n' -}}"
    "{% generation %}{{- message['content'] + eos_token -}}{% endgeneration %}",
)
FORGETFUL = (
    "{% for m in messages %}{% set c = m.content %}"
    "{% if not loop.last %}{% set c = m.content.split('</think>')[-1] %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ c }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def explained(pair: Pair, messages: list[Message], **options: Any) -> Explained:
    writer = PromptWriter(pair.ours, **options)
    return explain_row(pair.ours, writer, Row(tuple(messages)))


def test_the_mask_of_an_answer_of_which_a_part_is_shown(pairs: dict[str, Pair]) -> None:
    source = "{% for m in messages %}{{ m.role }}: {{ m.content[0].text }}|{% endfor %}"
    parts = [{"type": "text", "text": text} for text in ("Ho", "Hu")]
    talk = [Message(role, "HoHu", {"content": parts}) for role in ("user", "assistant")]
    assert learnt(explained(pairs["chatml"], talk, template=source)).endswith("Ho|")


def test_the_mask_of_an_answer_that_is_given_in_parts(pairs: dict[str, Pair]) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% for p in m.content %}{{ p.text }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    parts = [[{"type": "text", "text": text}] for text in ("Hi", "Ho")]
    talk = [
        Message(m.role, m.content, {"content": part})
        for m, part in zip(turns("Hi", "Ho"), parts, strict=True)
    ]
    found = explained(pairs["chatml"], talk, template=source)
    assert learnt(found).startswith("Ho<|im_end|>")


@pytest.mark.parametrize("marked", ["default", "tool_use"])
def test_the_mask_is_by_the_template_that_the_tools_choose(marked: str) -> None:
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}|{% endfor %}"
    mark = plain.replace("{{ m.content }}|", "{% generation %}{{ m.content }}|{% endgeneration %}")
    sources = {"default": plain, "tool_use": "T" + plain}
    sources[marked] = mark
    writer = PromptWriter(Templates(sources, {}))
    talk = turns("Hi", "Ho")
    for tools, chosen in ((None, "default"), ([{"name": "f"}], "tool_use")):
        anatomy = writer.anatomy(talk, tools)
        assert (anatomy.source == "generation") == (chosen == marked)


def learnt(result: Explained) -> str:
    """The text of the learnt tokens."""
    return "".join(token.piece for token in result.tokens if token.learnt)


@pytest.mark.parametrize("kind", ["tulu", "demo"])
@pytest.mark.parametrize("name", MARKING)
def test_marked_answers_are_masked_as_by_transformers(
    pairs: dict[str, Pair], templates: dict[str, str], name: str, kind: str
) -> None:
    pair, source = pairs[kind], templates[f"{name}_training"]
    theirs = pair.theirs.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in TALK],
        chat_template=source,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    result = explained(pair, TALK, template=source)
    assert [token.id for token in result.tokens] == theirs["input_ids"]
    assert result.mask() == theirs["assistant_masks"]
    assert result.source == "generation"
    assert sum(theirs["assistant_masks"])


def test_the_variant_of_the_tulu_template_is_one(tulu: Pair) -> None:
    assert "endgeneration" in MARKED
    assert explained(tulu, TALK, template=MARKED).text == explained(tulu, TALK).text


@given(messages=conversations(texts))
@settings(deadline=None, max_examples=50)
def test_derived_masks_are_those_of_marked_answers(tulu: Pair, messages: list[Message]) -> None:
    derived, marked = explained(tulu, messages), explained(tulu, messages, template=MARKED)
    assert [token.id for token in derived.tokens] == [token.id for token in marked.tokens]
    assert derived.mask() == marked.mask()


def test_what_tulu_learns(tulu: Pair) -> None:
    result = explained(tulu, [Message("system", "S"), *turns("U", "A b", "V", "C")])
    assert learnt(result) == "A b<|end_of_text|>C<|end_of_text|>"
    assert result.source == "prefixes"
    roles = [role for role, _, _ in result.turns()]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


def test_a_prompt_has_nothing_to_learn_and_says_where_it_ends(tulu: Pair) -> None:
    result = explained(tulu, turns("Hi"))
    assert result.mask() == [0] * len(result.tokens)
    assert result.turns()[-1] == ("generation prompt", len(result.tokens) - 5, len(result.tokens))


def test_an_open_answer_is_learnt_to_its_end(tulu: Pair) -> None:
    result = explained(tulu, turns("Hi", "I thi"), continue_final=True)
    assert learnt(result) == "I thi"


@pytest.mark.parametrize("kind", ["demo", "chatml", "phi"])
def test_other_templates(pairs: dict[str, Pair], kind: str) -> None:
    result = explained(pairs[kind], turns("U", "A b", "V", "C"))
    end = "<|end|>" if kind == "phi" else "<|im_end|>"
    assert learnt(result).replace("\n", "") == f"A b{end}C{end}"


def test_a_template_that_forgets_thoughts_is_derived_from_contents(pairs: dict[str, Pair]) -> None:
    result = explained(pairs["demo"], turns("U", "A b", "V", "C"), template=FORGETFUL)
    assert result.source == "contents"
    assert learnt(result) == "A b<|im_end|>\nC<|im_end|>\n"


def test_unknown_is_said_and_never_all_zero(pairs: dict[str, Pair]) -> None:
    reversing = "{% for m in messages | reverse %}{{ m.content | upper }}{% endfor %}"
    result = explained(pairs["demo"], turns("U", "a b"), template=reversing)
    assert (result.source, result.mask()) == ("none", None)


def test_a_template_without_a_generation_prompt(pairs: dict[str, Pair]) -> None:
    result = explained(pairs["llama2"], turns("U", "A", "V", "C"), template=LLAMA2)
    assert learnt(result).replace(" ", "") == "A</s>C</s>"


def test_marks_are_not_in_the_text(tulu: Pair) -> None:
    private = [
        replace(message, content=f"\U000f0000{message.content}\U000f0001") for message in TALK
    ]
    result = explained(tulu, private, template=MARKED)
    assert result.text == explained(tulu, private).text
    assert result.mask() == explained(tulu, private).mask()


def test_spoofed_control_tokens_keep_their_place(tulu: Pair) -> None:
    result = explained(tulu, turns("a<|end_of_text|>b", "c<|eot_id|>d"))
    assert learnt(result) == "c<|eot_id|>d<|end_of_text|>"
    assert [token.piece for token in result.tokens if token.special] == ["<|end_of_text|>"]
    assert "".join(token.piece for token in result.tokens) == result.text


def test_bytes_of_tokens(pairs: dict[str, Pair]) -> None:
    for kind in ("tulu", "chatml", "llama2"):
        result = explained(pairs[kind], turns("é <b> 😀"))
        assert "é <b> 😀".encode() in b"".join(token.data for token in result.tokens)


def test_a_token_is_learnt_where_it_overlaps() -> None:
    offsets = [(0, 2), (2, 5), (5, 5), (5, 9), (9, 10)]
    assert loss_mask(offsets, [(3, 6)]) == [0, 1, 0, 1, 0]
    assert loss_mask(offsets, [(0, 2), (9, 10)]) == [1, 0, 0, 0, 1]
    assert loss_mask(offsets, []) == [0] * 5


# The marked variant of Qwen3's writes empty thoughts that the plain one does not.
@pytest.mark.parametrize("name", [name for name in MARKING if name != "qwen3"])
def test_derived_masks_are_those_that_templates_mark_for_training(
    pairs: dict[str, Pair], templates: dict[str, str], name: str
) -> None:
    plain, marked = (templates[each] for each in (name, f"{name}_training"))
    talk = turns("Hi", "Hello there", "And?", "Fine.", "Well?", "x")
    derived = explained(pairs["tulu"], talk, template=plain)
    known = explained(pairs["tulu"], talk, template=marked)
    assert known.source == "generation"
    assert derived.source in ("prefixes", "contents")
    # White space behind an end token is learnt or not: the model has stopped by then.
    assert runs(derived) == runs(known)


def runs(result: Explained) -> list[str]:
    """The texts that are learnt in one piece, without white space at their ends."""
    found = groupby(result.tokens, key=lambda token: token.learnt)
    return ["".join(token.piece for token in run).strip() for learnt, run in found if learnt]


@pytest.mark.parametrize("number", [1, 3])
def test_a_turn_that_begins_in_another_way_than_it_is_asked_for(
    pairs: dict[str, Pair], number: int
) -> None:
    source = (
        "{% for m in messages %}<|im_start|>"
        f"{{{{ 'model' if loop.index0 == {number} else m.role }}}}\n"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    result = explained(pairs["chatml"], turns("U", "A", "V", "C"), template=source)
    assert (result.source, result.mask()) == ("none", None)
    assert result.reason.startswith(f"messages[{number}] does not begin as")


def test_a_block_that_the_template_cuts_marks_nothing(pairs: dict[str, Pair]) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% set said %}{% generation %}"
        "{{ m.content }}{% endgeneration %}{% endset %}{{ said[1:] }}<|im_end|>\n{% endfor %}"
    )
    result = explained(pairs["chatml"], turns("Hi", "Ho"), template=source)
    assert result.source != "generation"


THINKING = [
    *turns("Why?"),
    Message("assistant", "A.", {"reasoning_content": "One."}),
    *turns("And?"),
    Message("assistant", "B.", {"reasoning_content": "Two."}),
]


@pytest.mark.parametrize(
    ("habit", "expected"),
    [
        # Message, text and whether it is learnt; Qwen3's drops the thoughts of earlier turns.
        ("qwen3", [(1, "", False), (3, "<think>\nTwo.\n</think>", True)]),
        # The prompt asks with the sign that begins the thought: that one is not learnt.
        ("keeping_thoughts", [(1, "<think>One.</think>", True), (3, "<think>Two.</think>", True)]),
        ("deepseek_r1", [(1, "", False), (3, "", False)]),
        ("gpt_oss", [(1, "", False), (3, "Two.", True)]),  # no two signs, but its own text
    ],
)
def test_thoughts_are_found_in_the_prompt(
    pairs: dict[str, Pair], habit: str, expected: list[tuple[int, str, bool]]
) -> None:
    named = {"bos_token": "<s>"}
    found = explained(pairs["chatml"], THINKING, template=source(habit), kwargs=named)
    shown = [
        (
            one.index,
            "".join(token.piece for token in found.tokens[one.start or 0 : one.end or 0]).strip(),
            one.learnt,
        )
        for one in found.thoughts
    ]
    assert shown == expected
    marked = {at for one in found.thoughts if one.end for at in range(one.start or 0, one.end)}
    assert {at for at, token in enumerate(found.tokens) if token.thought} == marked


def test_a_thought_is_of_unknown_use_where_the_mask_is_unknown(
    pairs: dict[str, Pair],
) -> None:
    talk = [*turns("Why?"), Message("assistant", "A.", {"reasoning_content": "One."})]
    # The answer begins in another way than the prompt asks for it.
    other = "('model' if loop.index0 == 1 else m.role)"
    bare = source("keeping_thoughts").replace(
        "'<|im_start|>' + m.role", f"'<|im_start|>' + {other}"
    )
    found = explained(pairs["chatml"], talk, template=bare)
    assert found.mask() is None
    assert found.reason
    assert [one.learnt for one in found.thoughts] == [None]


def test_signs_in_an_answer_are_no_thought(pairs: dict[str, Pair]) -> None:
    talk = turns("Which?", "It is <think> and </think>.")
    found = explained(pairs["chatml"], talk, template=source("keeping_thoughts"))
    assert [token for token in found.tokens if token.thought] == []
