"""The rule for GSM8K: the last number of the answer is the label."""

import re

from tulu_cli.errors import BadInput
from tulu_cli.verify.verdict import Era, Verdict, own_words, quoted, text_label

# In 2024 the sign belonged to decimals alone: open-instruct, before and after its #1530.
_NUMBERS = {
    "2024": re.compile(r"[-+]?\d*\.\d+|\d+"),
    "now": re.compile(r"[-+]?(?:\d*\.\d+|\d+)"),
}
_PARTS = "0123456789+-.,"
_COMMA = re.compile(r"(\d),(\d)")
_LABEL = re.compile(r"[-+$]{0,2}[\d.,]*\d[\d.,]*%?")


def verify(text: str, label: object, era: Era = "now") -> Verdict:
    """Compare the last number, as text, with the label. Raise BadInput for no number as label."""
    gold = text_label(label)
    if not _LABEL.fullmatch(gold.strip()):
        raise BadInput(f"the label {quoted(gold)} is not a number, as gsm8k needs.")
    run = _last_run(own_words(text) if era == "2024" else text)
    numbers = _NUMBERS[era].findall(_COMMA.sub(r"\1\2", run))
    if not numbers:
        return Verdict.wrong(None, "the answer has no number")
    extracted = numbers[-1]
    verified = extracted.lower() == gold.lower()
    why = f"the last number is {quoted(extracted)}, and the label is {quoted(gold)}"
    if not verified:
        why += _quirk(extracted, gold, era)
    return Verdict.of(verified, extracted, why)


def _last_run(text: str) -> str:
    """Return the last digit with all before it that may belong to its number.

    No match goes over another character, so the last one of the run is the last of the text.
    """
    if not text.isascii():
        return text  # there are other digits
    last = max(map(text.rfind, "0123456789"))
    return text[len(text[: last + 1].rstrip(_PARTS)) : last + 1]


def _quirk(extracted: str, gold: str, era: Era) -> str:
    """Return why two numbers that may be equal are not: they are compared as texts."""
    if era == "2024" and gold.lstrip("-+") == extracted and gold[0] in "-+":
        return ": in 2024 an integer lost its sign"
    try:
        is_equal = float(extracted) == float(gold.replace(",", ""))
    except ValueError:
        return ""
    return ": they are compared as texts" if is_equal else ""
