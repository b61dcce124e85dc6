"""The rules for MATH: the answer that is boxed, final, or the last formula equals the label."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tulu_cli.verify.compare import same_expression
from tulu_cli.verify.latex import hendrycks_equal, minerva_form
from tulu_cli.verify.verdict import Era, Verdict, own_words, quoted, text_label

# Whether two answers are one expression; None where that took too long.
Compare = Callable[[str, str], bool | None]

# Minerva's own pattern. Its dots are any characters; the first match counts, not the last.
_FINAL = re.compile(r"Final Answer: The final answer is(.*?). I hope it is correct.")
_HOPE = "I hope it is correct."
_WHOLE = "whole text"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A part of an answer that may be the result, and what it is called."""

    kind: str
    text: str

    @property
    def extracted(self) -> str | None:
        """Return the text, None for the whole one: nothing has been extracted then."""
        return None if self.kind == _WHOLE else self.text


def verify(
    text: str, label: object, era: Era = "now", compare: Compare = same_expression
) -> Verdict:
    """Verify an answer in any form: boxed or final, else the last formula, else the whole text."""
    text = own_words(text) if era == "2024" else text
    found = [Candidate("boxed answer", boxed)] if (boxed := boxed_answer(text)) is not None else []
    found += _final(text) or []
    if not found and (formula := last_formula(text)) is not None:
        found = [Candidate("last formula", minerva_form(formula))]
    if not found:
        found = [Candidate(_WHOLE, minerva_form(text))]
        if era == "now":
            found.append(Candidate(_WHOLE, text))
    return _compared(found, text_label(label), compare)


def verify_strict(
    text: str, label: object, era: Era = "now", compare: Compare = same_expression
) -> Verdict:
    """Verify an answer in Minerva's form alone; the whole text where it has none."""
    text = own_words(text) if era == "2024" else text
    found = _final(text) or [Candidate(_WHOLE, minerva_form(text))]
    return _compared(found, text_label(label), compare)


def boxed_answer(text: str) -> str | None:
    r"""Return what the last \boxed holds, None without one whose braces are closed."""
    if "\\boxed " in text:
        return text.rpartition("\\boxed ")[2].partition("$")[0]
    begin = text.rfind("\\boxed")
    end = _closing_brace(text, begin) if begin >= 0 else -1
    inside = text[begin + len("\\boxed") : end]
    return inside[1:] if end >= 0 and inside.startswith("{") else None


def _closing_brace(text: str, begin: int) -> int:
    """Return where the first brace that is opened after `begin` is closed, -1 if nowhere."""
    depth = 0
    for match in re.compile("[{}]").finditer(text, begin):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return -1


def final_answer(text: str) -> str | None:
    """Return the answer that is told in Minerva's words."""
    match = _FINAL.search(text + _HOPE)
    return None if match is None else match[1].strip()


def last_formula(text: str) -> str | None:
    """Return what stands between the last two dollar signs."""
    parts = text.rsplit("$", 2)
    return parts[1] if len(parts) == 3 else None


def _final(text: str) -> list[Candidate]:
    final = final_answer(text)
    return [] if final is None else [Candidate("final answer", minerva_form(final))]


def _compared(found: list[Candidate], gold: str, compare: Compare) -> Verdict:
    """Return the verdict on the candidates: it is enough that one of them equals the label."""
    for one in found:
        if hendrycks_equal(one.text, gold):
            return Verdict.right(one.extracted, f"the {one.kind} has the label's form")
    slow = ""
    for one in found:
        is_same = compare(one.text, gold)
        if is_same:
            return Verdict.right(one.extracted, f"the {one.kind} is the label's expression")
        slow = slow or ("; to compare them took too long" if is_same is None else "")
    told_all = ", ".join(f"the {one.kind} {quoted(one.text)}" for one in found)
    return Verdict.wrong(
        found[0].extracted, f"the label {quoted(gold)} is not equal to {told_all}{slow}"
    )
