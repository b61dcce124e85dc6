"""Rules about turns: the generation prompt, the system message, other roles, white space."""

import re
from collections.abc import Iterator

from tulu_cli.core import Message
from tulu_cli.prompt.encode import encoding_of_pieces
from tulu_cli.prompt.inspect.grammar import START, common_beginning, without_thoughts
from tulu_cli.prompt.inspect.lint.finding import (
    ANSWER,
    ANSWERED,
    ASKED,
    SYSTEM,
    TURN,
    USER,
    Finding,
    LintTarget,
    Rule,
)
from tulu_cli.prompt.spoofing import is_sign
from tulu_cli.prompt.thinking import THOUGHT_FIELDS
from tulu_cli.text import told

_THOUGHT = "It must be said."
_HALF_A_TOKEN = re.compile(r"<[^<>]*$")
_EDGES = {"a line end": "\n", "two line ends": "\n\n", "a space": " "}


def asks_as_it_answers(target: LintTarget) -> Iterator[Finding]:
    """T030, T031: the generation prompt must be how an answer begins."""
    asked, unasked = target.text(USER, asked=True), target.text(USER)
    answered = target.text(*TURN)
    if asked is None or answered is None:
        return
    if asked == unasked:
        shared = len(_HALF_A_TOKEN.sub("", common_beginning([asked, answered])))
        header = answered[shared:].partition(ANSWER.content)[0]
        if header.strip():
            yield Finding(
                "T031",
                "warning",
                f"There is no generation prompt: the model has to write "
                f"{told(header.strip())} itself.",
                "Write it where add_generation_prompt is true.",
            )
    elif not answered.startswith(asked):
        prompt = asked[len(common_beginning([asked, unasked or ""])) :]
        header = without_thoughts(prompt)
        if header and answered.startswith(asked[: asked.rindex(header) + len(header)]):
            yield Finding(
                "T030",
                "note",
                f"The generation prompt ends with {told(prompt.partition(header)[2].strip())}, "
                "about a thought, and a finished answer without one is not written so.",
                "Nothing, if the model was trained so; train on answers with their thoughts.",
            )
            return
        yield Finding(
            "T030",
            "error",
            "The generation prompt is not how an answer begins, so a model is asked in another "
            f"way than it was trained: {told(prompt)}.",
            "Begin both with the same text.",
        )


def keeps_system(target: LintTarget) -> Iterator[Finding]:
    """T040 to T042: what becomes of a system message."""
    system = Message("system", SYSTEM)
    text = target.text(system, USER)
    fix = "Put the instruction into the first user's turn, and say so to users."
    if text is None:
        yield Finding("T041", "warning", "The template refuses a system message.", fix)
    elif SYSTEM not in text:
        yield Finding("T040", "error", "The template drops a system message without a word.", fix)
    else:
        between = text.partition(SYSTEM)[2].partition(ASKED)[0]
        if not any(map(is_sign, between)):
            yield Finding(
                "T042",
                "warning",
                "A system message is merged into the user's turn: the user can speak for it.",
                "Nothing, if the model was trained so.",
            )


def adds_system(target: LintTarget) -> Iterator[Finding]:
    """T043: a system message that nobody wrote."""
    (header, *_) = target.writer.grammar.between.get((START, "user"), ("",))
    if "system" in header.lower():
        yield Finding(
            "T043",
            "note",
            f"Without a system message the template adds one of its own: {told(header)}.",
            "Give one, if need be an empty one, to choose it yourself.",
        )


def keeps_user(target: LintTarget) -> Iterator[Finding]:
    """T051: a user's text that disappears."""
    text = target.text(USER)
    if text is None or ASKED in text:
        return
    if target.text(Message("user", f"{ASKED} {SYSTEM}")) == text:
        yield Finding(
            "T051",
            "error",
            "The template drops a user's text without a word.",
            "Make it show a content that is a text, and not only one that is a list of parts.",
        )


def keeps_tool_results(target: LintTarget) -> Iterator[Finding]:
    """T050: messages that disappear."""
    result = "degrees: 21"
    text = target.text(*TURN, Message("tool", result))
    if text is not None and result not in text:
        yield Finding(
            "T050",
            "warning",
            "The template drops messages of the role tool without a word.",
            "Do not use it with tools.",
        )


def keeps_space(target: LintTarget) -> Iterator[Finding]:
    """T060: white space around contents."""
    text = target.text(Message("user", f" \n{ASKED}\n "))
    if text is not None and ASKED in text and f" \n{ASKED}\n " not in text:
        yield Finding(
            "T060",
            "note",
            "White space around contents is taken off.",
            "Nothing, unless it matters: code may begin with an indent.",
        )


def borders_hold(target: LintTarget) -> Iterator[Finding]:
    """T061: white space that becomes one token with what the template writes before it."""
    merged = [
        name
        for name, edge in _EDGES.items()
        if target.tokenizer and straddles(target, Message("assistant", f"{edge}Fine."))
    ]
    if merged:
        yield Finding(
            "T061",
            "warning",
            f"An answer that begins with {' or '.join(merged)} has its first token in common with "
            "the header before it: after a generation prompt the model is in another place than "
            "it was in training.",
            "Strip answers before training, or end the header with a control token.",
        )


def straddles(target: LintTarget, answer: Message) -> bool:
    """Return True if a token covers both the end of the header and the start of an answer."""
    writer, tokenizer = target.writer, target.tokenizer
    text = target.text(USER, answer)
    header = target.text(USER, asked=True)
    if tokenizer is None or text is None or header is None or not text.startswith(header):
        return False
    pieces = writer.vocabulary.control_texts.split(text)
    offsets = encoding_of_pieces(tokenizer, pieces)[1]
    return any(start < len(header) < end for start, end in offsets)


def treats_thoughts(target: LintTarget) -> Iterator[Finding]:
    """T062 and T063: the thoughts of earlier answers."""
    fields = dict.fromkeys(THOUGHT_FIELDS, _THOUGHT)
    answers = [Message("assistant", ANSWERED, fields)]
    if "</think>" in target.writer.source:
        answers.append(Message("assistant", f"<think>\n{_THOUGHT}\n</think>\n\n{ANSWERED}"))
    more = Message("user", SYSTEM)
    texts = [(target.text(USER, one), target.text(USER, one, more)) for one in answers]
    shown = [
        (_THOUGHT in last, _THOUGHT in earlier)
        for last, earlier in texts
        if last is not None and earlier is not None
    ]
    if (True, True) in shown:
        yield Finding(
            "T063",
            "note",
            "The template keeps the thoughts of earlier answers.",
            "Nothing, unless conversations become too long for the context.",
        )
    elif (True, False) in shown:
        yield Finding(
            "T062",
            "note",
            "The template drops the thoughts of earlier answers.",
            "Nothing for a chat. In training, only the last answer of a conversation has one.",
        )
    elif len(shown) > 1:
        yield Finding(
            "T062",
            "note",
            "The template drops the thoughts of all answers.",
            "Nothing for a chat. In training, no answer has one.",
        )


TURNS: tuple[Rule, ...] = (
    asks_as_it_answers,
    keeps_system,
    adds_system,
    keeps_user,
    keeps_tool_results,
    keeps_space,
    borders_hold,
    treats_thoughts,
)
