"""Rules about the begin and end tokens."""

from collections.abc import Iterator

from tulu_cli.prompt.builtin import CARD_EOS, EOS_DIFFERENCE, FAMILY_EOS, tulu_template
from tulu_cli.prompt.inspect.lint.finding import TURN, USER, Finding, Rule, Severity, Subject


def begins_once(subject: Subject) -> Iterator[Finding]:
    """T010: two begin tokens in a row."""
    bos = subject.bos
    if bos and (subject.text(USER) or "").startswith(bos * 2):
        yield Finding("T010", "error", f"The prompt begins with {bos} twice.", "Write it once.")


def begins_as_text_does(subject: Subject) -> Iterator[Finding]:
    """T011, T012: a tokenizer that adds its own BOS to plain text, and a template that does not."""
    tokenizer, bos = subject.tokenizer, subject.bos
    if tokenizer is None or not bos or tokenizer.encode_raw("x")[:1] != (tokenizer.bos_token_id,):
        return
    if (subject.text(USER) or "").startswith(bos):
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


def ends_answers(subject: Subject) -> Iterator[Finding]:
    """T020: an answer without an end token never ends."""
    control = subject.writer.vocabulary.control_texts
    ended = len(control.split(subject.closing)) > 1 or (subject.eos or "\0") in subject.closing
    if not ended:
        yield Finding(
            "T020",
            "error",
            "No end token stands behind an answer: a model that learns from this does not stop.",
            "Write {{ eos_token }} behind the assistant's content.",
        )


def ends_as_the_model_does(subject: Subject) -> Iterator[Finding]:
    """T021: the token behind an answer must be one that generation stops at."""
    tokenizer = subject.tokenizer
    if tokenizer is None:
        return
    written = subject.writer.vocabulary.control_texts.split(subject.closing)[1::2]
    stops = {*subject.end_token_ids, tokenizer.eos_token_id}
    if written and tokenizer.token_id(written[0]) not in stops:
        yield Finding(
            "T021",
            "error",
            f"Answers end with {written[0]}, at which generation does not stop: that is "
            f"{tokenizer.eos_token} by the tokenizer.",
            "Add its id to eos_token_id in generation_config.json.",
        )


def configurations_agree(subject: Subject) -> Iterator[Finding]:
    """T022: the end token of the tokenizer and those of generation_config.json."""
    tokenizer, ids = subject.tokenizer, subject.end_token_ids
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


def end_token_exists(subject: Subject) -> Iterator[Finding]:
    """T023: an end token that the vocabulary does not have is many plain ones."""
    tokenizer, eos = subject.tokenizer, subject.eos
    if tokenizer is None or not eos or eos in tokenizer.special_tokens:
        return
    count = len(tokenizer.encode_text(eos))
    yield Finding(
        "T023",
        "error",
        f"The end token {eos} is no control token of this tokenizer, but {count} plain tokens."
        + (f" {EOS_DIFFERENCE}" if eos == CARD_EOS else ""),
        f"Use the tokenizer's own: --eos '{tokenizer.eos_token}'.",
    )


def card_differs(subject: Subject) -> Iterator[Finding]:
    """T024: what the model card prints is not what the models use."""
    if subject.tokenizer is not None or subject.writer.source != tulu_template():
        return
    if subject.eos in (CARD_EOS, FAMILY_EOS):
        severity: Severity = "warning" if subject.eos == CARD_EOS else "note"
        fix = f"Keep {FAMILY_EOS} for the models; --card is for comparing with the card."
        yield Finding("T024", severity, EOS_DIFFERENCE, fix)


def mask_is_known(subject: Subject) -> Iterator[Finding]:
    """T090 to T092: which tokens are learnt in fine-tuning."""
    text = subject.text(*TURN) or ""
    anatomy = subject.writer.anatomy(TURN, text)
    learnt = "".join(text[start:end] for start, end in anatomy.learnt)
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
    elif subject.closing.strip() and subject.closing.strip() not in learnt:
        yield Finding(
            "T092",
            "warning",
            f"{subject.closing.strip()} behind an answer is outside its {{% generation %}} block: "
            "a model that learns from this does not learn to stop.",
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
