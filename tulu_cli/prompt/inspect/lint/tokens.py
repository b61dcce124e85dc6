"""Rules about the begin and end tokens."""

import re
from collections.abc import Iterator

from tulu_cli.prompt.builtin import CARD_EOS, EOS_DIFFERENCE, FAMILY_EOS, tulu_template
from tulu_cli.prompt.inspect.lint.finding import (
    ANSWERED,
    TURN,
    USER,
    Finding,
    LintTarget,
    Rule,
    Severity,
)
from tulu_cli.text import told

# `<|im_end|>`, `</s>`, `<end_of_turn>`, `[|endofturn|]`, `[e~[`; U+FF5C is DeepSeek's bar.
_LIKE_A_TOKEN = re.compile(r"<[^\s<>]+>|\[[^\s\[\]]+[\[\]]|<[|\uff5c][^<>]+>")


def begins_once(target: LintTarget) -> Iterator[Finding]:
    """T010: two begin tokens in a row."""
    bos = target.bos
    if bos and (target.text(USER) or "").startswith(bos * 2):
        yield Finding("T010", "error", f"The prompt begins with {bos} twice.", "Write it once.")


def begins_as_text_does(target: LintTarget) -> Iterator[Finding]:
    """T011, T012: a tokenizer that adds its own BOS to plain text, and a template that does not."""
    tokenizer, bos = target.tokenizer, target.bos
    if tokenizer is None or not bos or tokenizer.encode_raw("x")[:1] != (tokenizer.bos_token_id,):
        return
    if (target.text(USER) or "").startswith(bos):
        yield Finding(
            "T011",
            "note",
            f"Both the template and the tokenizer write {bos}: a program that renders to text and "
            "tokenizes that has two of them. tulu feeds ids, with one.",
            "Elsewhere, tokenize the rendered text with add_special_tokens=False.",
        )
    else:
        yield Finding(
            "T012",
            "warning",
            f"The tokenizer begins plain texts with {bos}, and the template begins chats without.",
            "Keep it so if the model was trained so, as Tülu 3 was; else add {{ bos_token }}.",
        )


def ends_answers(target: LintTarget) -> Iterator[Finding]:
    """T020: an answer without an end token never ends."""
    if ANSWERED not in (target.text(*TURN) or "") or is_ended(target, target.closing):
        return
    # Without a tokenizer no list says which texts are tokens.
    alike = _LIKE_A_TOKEN.search(target.closing)
    if alike and target.tokenizer is None:
        return
    if alike:
        yield Finding(
            "T020",
            "error",
            f"Answers end with {told(alike.group())}, which is not a control token of this "
            "tokenizer but plain text: generation does not stop at it.",
            "Use the tokenizer that belongs to the template, or end with {{ eos_token }}.",
        )
    elif is_ended(target, target.following) or _LIKE_A_TOKEN.search(target.following):
        yield Finding(
            "T020",
            "note",
            "No end token stands behind the last answer; only the next turn ends an answer, with "
            f"{told(target.following.strip())}.",
            "Nothing, if generation stops at that; else write {{ eos_token }} behind answers.",
        )
    else:
        yield Finding(
            "T020",
            "error",
            "No end token stands behind an answer: a model that learns from this does not stop.",
            "Write {{ eos_token }} behind the assistant's content.",
        )


def is_ended(target: LintTarget, text: str) -> bool:
    """Return True if a control token that is known, or the end token, stands in the text."""
    control = target.writer.vocabulary.control_texts
    return len(control.split(text)) > 1 or (target.eos or "\0") in text


def ends_as_the_model_does(target: LintTarget) -> Iterator[Finding]:
    """T021: the token behind an answer must be one that generation stops at."""
    tokenizer = target.tokenizer
    if tokenizer is None:
        return
    written = target.writer.vocabulary.control_texts.split(target.closing)[1::2]
    stops = {*target.end_token_ids, tokenizer.eos_token_id}
    # Several may close a turn, as in `<|END_RESPONSE|><|END_OF_TURN_TOKEN|>`.
    if written and not any(tokenizer.token_id(token) in stops for token in written):
        yield Finding(
            "T021",
            "error",
            f"Answers end with {' and '.join(dict.fromkeys(written))}, at which generation does "
            f"not stop: that is {tokenizer.eos_token} by the tokenizer.",
            "Add its id to eos_token_id in generation_config.json.",
        )


def configurations_agree(target: LintTarget) -> Iterator[Finding]:
    """T022: the end token of the tokenizer and those of generation_config.json."""
    tokenizer, ids = target.tokenizer, target.end_token_ids
    if tokenizer is None or not ids or tokenizer.eos_token_id in (None, *ids):
        return
    shown = ", ".join(f"{tokenizer.token_text(number)} ({number})" for number in ids)
    yield Finding(
        "T022",
        "warning",
        f"The tokenizer's end token is {tokenizer.eos_token} ({tokenizer.eos_token_id}), and "
        f"generation_config.json has {shown}.",
        "tulu stops at all of them; make the files agree for other programs.",
    )


def end_token_exists(target: LintTarget) -> Iterator[Finding]:
    """T023: an end token that the vocabulary does not have is many plain ones."""
    tokenizer, eos = target.tokenizer, target.eos
    if tokenizer is None or not eos or eos in tokenizer.special_tokens:
        return
    count = len(tokenizer.encode_text(eos))
    yield Finding(
        "T023",
        "error",
        f"The end token {eos} is not a control token of this tokenizer, but {count} plain tokens."
        + (f" {EOS_DIFFERENCE}" if eos == CARD_EOS else ""),
        f"Use the tokenizer's own: --eos '{tokenizer.eos_token}'.",
    )


def card_differs(target: LintTarget) -> Iterator[Finding]:
    """T024: what the model card prints is not what the models use."""
    if target.tokenizer is not None or target.writer.source != tulu_template():
        return
    if target.eos in (CARD_EOS, FAMILY_EOS):
        severity: Severity = "warning" if target.eos == CARD_EOS else "note"
        fix = f"Keep {FAMILY_EOS} for the models; --card is for comparing with the card."
        yield Finding("T024", severity, EOS_DIFFERENCE, fix)


def mask_is_known(target: LintTarget) -> Iterator[Finding]:
    """T090 to T092: which tokens are learnt in fine-tuning."""
    anatomy = target.writer.anatomy(TURN)
    learnt = "".join(anatomy.text[start:end] for start, end in anatomy.learnt)
    if not learnt:
        yield Finding(
            "T090",
            "error",
            "Nothing says which tokens the assistant wrote: the loss mask is all zero.",
            "Put {% generation %} ... {% endgeneration %} around the assistant's content.",
        )
    elif anatomy.source != "generation":
        yield Finding(
            "T091",
            "note",
            "The template has no {% generation %} block: the masks of transformers are all zero. "
            f"tulu finds the answers out by the {anatomy.source} of the conversation.",
            "Add {% generation %} around answers if other programs are to mask by this template.",
        )
    elif target.closing.strip() and target.closing.strip() not in learnt:
        yield Finding(
            "T092",
            "warning",
            f"{told(target.closing.strip())} behind an answer is outside its "
            "{% generation %} block: a model that learns from this does not learn to stop.",
            "Put the end token inside the block.",
        )


TOKENS: tuple[Rule, ...] = (
    begins_once,
    begins_as_text_does,
    ends_answers,
    ends_as_the_model_does,
    configurations_agree,
    end_token_exists,
    card_differs,
    mask_is_known,
)
