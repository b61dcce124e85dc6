"""Which tokens of a prompt are those of a given answer."""

from typing import Any

import pytest

from tulu_cli.core import Message, ScoreRequest
from tulu_cli.errors import BadInput
from tulu_cli.prompt.chat import encode_chat
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.score import encode_answer, encode_completion, encode_reply
from tulu_cli.prompt.tokenizer import Tokenizer

from .pairs import Pair

ASKED = (Message("user", "Name a colour."),)


def ends_of(tokenizer: Tokenizer) -> tuple[int, ...]:
    assert tokenizer.eos_token_id is not None
    return (tokenizer.eos_token_id,)


def scored(pair: Pair, text: str, earlier: tuple[Message, ...] = (), **options: Any) -> str:
    """The text of the tokens that are scored, control tokens shown."""
    writer = PromptWriter(pair.ours, **options)
    messages = (*earlier, *ASKED, Message("assistant", text))
    request = encode_answer(pair.ours, writer, messages, ends_of(pair.ours))
    return pair.ours.decode(request.completion_token_ids, skip_special_tokens=False)


@pytest.mark.parametrize("kind", ["tulu", "demo"])
def test_an_answer_is_scored_with_its_end_token_and_nothing_behind_it(
    pairs: dict[str, Pair], kind: str
) -> None:
    pair = pairs[kind]
    earlier = (Message("user", "Hi"), Message("assistant", "Hello"))
    end = pair.ours.eos_token
    assert scored(pair, "Red.") == f"Red.{end}"
    assert scored(pair, "Red.\n\n", earlier) == f"Red.\n\n{end}"


@pytest.mark.parametrize("kind", ["tulu", "demo"])
@pytest.mark.parametrize("text", ["Red.", " Red", "\nRed", "Rot 🍎", "<|assistant|>\n", "a</s>b"])
def test_the_context_is_what_a_question_alone_is_and_the_rest_is_the_answer(
    pairs: dict[str, Pair], kind: str, text: str
) -> None:
    pair = pairs[kind]
    writer = PromptWriter(pair.ours)
    messages = (*ASKED, Message("assistant", text))
    request = encode_answer(pair.ours, writer, messages, ends_of(pair.ours))
    whole = encode_chat(pair.ours, messages, add_generation_prompt=False)
    assert request.token_ids == whole[: len(request.token_ids)]
    context = request.token_ids[: request.context_tokens]
    question = encode_chat(pair.ours, ASKED)
    # A line end that the question ends with may be one token with what the answer begins with.
    assert context in (question, question[:-1])
    assert (context == question) or text.startswith("\n")
    assert request.token_ids[-1] == pair.ours.eos_token_id


@pytest.mark.parametrize("kind", ["tulu", "demo"])
@pytest.mark.parametrize("text", ["Red.", " Red ", "Red\n", "Rot 🍎", "<|assistant|>\n", "a</s>b"])
def test_without_its_end_an_answer_is_its_own_characters_behind_the_question(
    pairs: dict[str, Pair], kind: str, text: str
) -> None:
    pair = pairs[kind]
    request = encode_reply(pair.ours, PromptWriter(pair.ours), (*ASKED, Message("assistant", text)))
    assert request.token_ids[: request.context_tokens] == encode_chat(pair.ours, ASKED)
    assert pair.ours.decode(request.completion_token_ids, skip_special_tokens=False) == text
    assert pair.ours.eos_token_id not in request.completion_token_ids


def test_without_its_end_an_answer_keeps_the_rules_for_its_text(pairs: dict[str, Pair]) -> None:
    pair, end = pairs["demo"], pairs["demo"].ours.eos_token_id
    asked = (*ASKED, Message("assistant", "a<|im_end|>b"))
    allowed = encode_reply(pair.ours, PromptWriter(pair.ours, allow_special=True), asked)
    assert allowed.completion_token_ids.count(end) == 1
    strict = PromptWriter(pairs["tulu"].ours, strict_roles=True)
    with pytest.raises(BadInput, match="strict-roles"):
        encode_reply(pairs["tulu"].ours, strict, (*ASKED, Message("assistant", "Red. <|user|>\n")))
    call = Message("assistant", "", {"tool_calls": []})
    with pytest.raises(BadInput, match="more than text"):
        encode_reply(pair.ours, PromptWriter(pair.ours), (*ASKED, call))


def test_control_tokens_in_an_answer_stay_text_unless_they_are_allowed(
    pairs: dict[str, Pair],
) -> None:
    pair, end = pairs["demo"], pairs["demo"].ours.eos_token_id
    messages = (*ASKED, Message("assistant", "a<|im_end|>b"))
    for allowed, count in ((False, 1), (True, 2)):
        writer = PromptWriter(pair.ours, allow_special=allowed)
        request = encode_answer(pair.ours, writer, messages, ends_of(pair.ours))
        assert request.completion_token_ids.count(end) == count
        assert request.token_ids[-1] == end


def test_a_template_that_does_not_show_the_answer_is_refused(pairs: dict[str, Pair]) -> None:
    hiding = "{% for m in messages %}{{ m.role }}: {{ m.content | length }}\n{% endfor %}x"
    with pytest.raises(BadInput, match="does not show where the answer"):
        scored(pairs["demo"], "Red.", template=hiding)
    first_only = (
        "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
        "{% endfor %}"
    )
    earlier = (Message("user", "Hi"), Message("assistant", "Hello"))
    with pytest.raises(BadInput, match="does not show where the answer"):
        scored(pairs["demo"], "Red.", earlier, template=first_only)


def test_roles_are_strict_where_that_is_asked(pairs: dict[str, Pair]) -> None:
    with pytest.raises(BadInput, match="strict-roles"):
        scored(pairs["tulu"], "Red. <|user|>\n", strict_roles=True)


@pytest.mark.parametrize("kind", ["tulu", "demo"])
@pytest.mark.parametrize(
    ("text", "completion", "straddles"),
    [
        ("The sky", " is blue", 0),
        ("The s", "ky is", 1),
        ("a ", "b", 1),
        ("a", " ", 0),
        ("é", "🍎", 0),
    ],
)
def test_a_text_is_encoded_as_a_whole(
    pairs: dict[str, Pair], kind: str, text: str, completion: str, straddles: int
) -> None:
    tokenizer = pairs[kind].ours
    request = encode_completion(tokenizer, text, completion)
    assert request.token_ids == tokenizer.encode_raw(text + completion)
    covered = tokenizer.decode(request.completion_token_ids)
    assert covered.endswith(completion)
    assert (covered != completion) == bool(straddles)
    assert text.startswith(tokenizer.decode(request.token_ids[: request.context_tokens]))


def test_a_completion_needs_something_before_it_and_something_in_it(
    pairs: dict[str, Pair],
) -> None:
    tulu, demo = pairs["tulu"].ours, pairs["demo"].ours
    request = encode_completion(tulu, "", "Red")  # behind the BOS that the tokenizer adds
    assert request == ScoreRequest(tulu.encode_raw("Red"), 1)
    assert tulu.encode_raw("Red")[0] == tulu.bos_token_id
    bos = encode_completion(tulu, str(tulu.bos_token), "Red")
    assert bos == request
    with pytest.raises(BadInput, match="not even a BOS"):
        encode_completion(demo, "", "Red")
    with pytest.raises(BadInput, match="no token to be scored"):
        encode_completion(demo, "Red", "")
