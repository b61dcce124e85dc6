"""What follows a thought token by token, and what an engine is asked that has to be asked again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tulu_cli.core import Constraint, Request, Sampling, ThoughtFormat
from tulu_cli.engines.thinking import ContinuedChoice, ThoughtGuide, is_guided
from tulu_cli.prompt import Tokenizer

THINK = ThoughtFormat("<think>", "</think>", closing="\n</think>\n\n")
OPEN = ThoughtFormat("<think>", "</think>", is_open=True, closing="\n</think>\n\n")
CLOSED = ThoughtFormat("<think>", "</think>", is_closed=True)
BOUND = Constraint("choice", '["yes", "no"]')
PROMPT = (1, 2, 3)
END = 2


@pytest.fixture(scope="module")
def demo(demo_directory: Path) -> Tokenizer:
    """A tokenizer that spells the signs in several tokens."""
    return Tokenizer.load(demo_directory)


@pytest.fixture(scope="module")
def thinker(thinker_directory: Path) -> Tokenizer:
    """A tokenizer with a token for each sign."""
    return Tokenizer.load(thinker_directory)


def request(
    thoughts: ThoughtFormat | None, constraint: Constraint | None = None, limit: int | None = None
) -> Request:
    sampling = Sampling(
        max_tokens=40, constraint=constraint, max_reasoning_tokens=limit, seed=7, logprobs=0
    )
    return Request(PROMPT, sampling, (END,), thoughts=thoughts)


def followed(
    tokenizer: Tokenizer, asked: Request, tokens: Sequence[int]
) -> tuple[str, ThoughtGuide]:
    """What is kept of sampled tokens up to where the guide is over, with what is fed in {}."""
    guide = ThoughtGuide(asked, tokenizer)
    kept: list[int] = []
    shown = ""

    def take_fed() -> None:
        nonlocal shown
        if guide.fed:
            fed = [guide.feed()[0] for _ in range(len(guide.fed))]
            shown += tokenizer.decode(kept) + "{" + tokenizer.decode(fed) + "}"
            kept.clear()

    take_fed()
    for token in tokens:
        if guide.is_over:
            break
        if guide.take(token):
            kept.append(token)
        take_fed()
    return shown + tokenizer.decode(kept, skip_special_tokens=False), guide


@pytest.mark.parametrize(
    ("thoughts", "constraint", "limit", "guided"),
    [
        (None, BOUND, 3, False),
        (THINK, None, None, False),
        (THINK, BOUND, None, True),
        (OPEN, None, 0, True),
        (CLOSED, BOUND, 5, False),  # the answer begins at once
        (CLOSED, None, 5, True),  # a model may think all the same
    ],
)
def test_what_needs_a_guide(
    thoughts: ThoughtFormat | None, constraint: Constraint | None, limit: int | None, guided: bool
) -> None:
    assert is_guided(request(thoughts, constraint, limit)) == guided


@pytest.mark.parametrize(
    ("thoughts", "said", "kept"),
    [
        (THINK, "<think>\nHm.\n</think>\n\nIt is", "<think>\nHm.\n</think>\n\n"),
        (THINK, "\n<think>Hm.</think>It is", "\n<think>Hm.</think>"),
        (OPEN, "Hm.</think>\n\n\n yes", "Hm.</think>\n\n\n"),
        (THINK, "yes", ""),
        (THINK, "\n\nyes", "\n\n"),
        (THINK, "", ""),  # an end token is an answer of nothing
        (OPEN, "Hm.</think>", "Hm.</think>"),
    ],
)
def test_a_structure_begins_with_the_answer(
    demo: Tokenizer, thinker: Tokenizer, thoughts: ThoughtFormat, said: str, kept: str
) -> None:
    asked = request(thoughts, BOUND)
    found, guide = followed(thinker, asked, (*thinker.encode_text(said), END))
    assert (found, guide.is_over, guide.has_cut) == (kept, True, False)
    # A sign of several tokens that has begun is fed to its end; those of the model are one more.
    tokens = (*demo.encode_text(said.replace("<think>", "<")), END)
    found, guide = followed(demo, asked, tokens)
    assert (found, guide.is_over) == (kept.replace("<think>", "<{think>}"), True)


def test_a_token_that_has_the_sign_and_the_answer_is_spelled_anew(demo: Tokenizer) -> None:
    both = demo.token_id("><")
    assert both is not None
    tokens = (*demo.encode_text("Hm."), *demo.encode_text("</think>")[:-1], both)
    found, guide = followed(demo, request(OPEN, BOUND), tokens)
    assert (found, guide.is_over) == ("Hm.</think{>}", True)


@pytest.mark.parametrize(
    ("thoughts", "limit", "said", "kept"),
    [
        (OPEN, 0, "Hm", "{\n</think>\n\n}"),
        (THINK, 0, "<think>Hm", "<think>{\n</think>\n\n}"),
        (THINK, 2, "<think> Two and two", "<think> Two and{\n</think>\n\n}"),
        (THINK, 3, "<think> Two and two</think>", "<think> Two and two{\n</think>\n\n}"),
        (THINK, 4, "<think> Two and two</think>", "<think> Two and two</think>"),
        (THINK, 0, "yes", "yes"),
        (OPEN, 1, "\U0001f9d1", "\U0001f9d1{\n</think>\n\n}"),  # no half of a character
    ],
)
@pytest.mark.parametrize("constraint", [None, BOUND])
def test_a_thought_is_closed_after_so_many_tokens(
    thinker: Tokenizer,
    thoughts: ThoughtFormat,
    limit: int,
    said: str,
    kept: str,
    constraint: Constraint | None,
) -> None:
    asked = request(thoughts, constraint, limit)
    found, guide = followed(thinker, asked, thinker.encode_text(said))
    assert found == ("" if constraint and kept == "yes" else kept)
    assert guide.has_cut == ("{" in kept)


def test_whoever_is_asked_again_is_asked_for_the_same_adapter(thinker: Tokenizer) -> None:
    asked = replace(request(OPEN, limit=0), adapter="mine")
    assert ContinuedChoice(asked, thinker, 0, 0.0).asked.adapter == "mine"


def test_a_choice_is_asked_again_with_what_has_come(thinker: Tokenizer) -> None:
    choice = ContinuedChoice(request(OPEN, BOUND, 2), thinker, 1, 0.0)
    first, *_, last = [*thinker.encode_text(" Two and"), END]
    assert list(choice.begin()) == []
    asked = choice.asked
    assert (asked.prompt, asked.thoughts) == (PROMPT, None)
    assert (asked.sampling.n, asked.sampling.seed, asked.sampling.max_tokens) == (1, 8, 40)
    assert (asked.sampling.constraint, asked.sampling.max_reasoning_tokens) == (None, None)
    pieces = [*choice.push(first), *choice.push(thinker.encode_text(" and")[0])]
    assert choice.is_stale
    ignored = [*choice.push(first), *choice.close("stop")]  # what the engine sent meanwhile
    assert (ignored, choice.finish) == ([], None)
    pieces += choice.begin()
    closing = thinker.encode_text(OPEN.closing)
    thought = (first, thinker.encode_text(" and")[0])
    assert choice.asked.prompt == (*PROMPT, *thought, *closing)
    assert choice.asked.sampling.constraint == BOUND
    assert choice.asked.sampling.max_tokens == 40 - 2 - len(closing)
    pieces += [*choice.push(thinker.encode_text("yes")[0]), *choice.push(last)]
    assert "".join(piece.text for piece in pieces if piece.channel == "thought") == " Two and"
    assert "".join(piece.text for piece in pieces if piece.channel == "answer") == "yes"
    fed = [entry.logprob for piece in pieces for entry in piece.logprobs]
    assert fed == [0.0] * len(closing)
    done = choice.done()
    assert (done.finish_reason, done.reasoning_truncated, done.index) == ("stop", True, 1)
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (3, 4 + len(closing))
