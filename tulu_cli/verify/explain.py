"""Why a row has its verdict, told to people."""

from collections.abc import Iterator

from tulu_cli.errors import BadInput
from tulu_cli.text import plural, told
from tulu_cli.verify.records import Judge
from tulu_cli.verify.rules import Rule, verify
from tulu_cli.verify.verdict import Answer, reward

_END = 400  # characters of an answer that are shown: its end, where results stand


def explain(rows: Iterator[list[tuple[int, bytes]]], wanted: int, judge: Judge) -> str:
    """Return what the rule of a line, and its other era if it has one, say of each answer.

    Raise BadInput if there is no such line, or it cannot be verified.
    """
    place = f"line {wanted:,}"
    line = next((line for piece in rows for number, line in piece if number == wanted), None)
    if line is None:
        raise BadInput(f"There is no {place} in the input, or it is blank.")
    try:
        _, row, rule = judge.read(line, place)
        lines = [f"{place}: rule {rule.name}, label {told(row.label)}"]
        for number, answer in enumerate(row.answers, 1):
            lines += _answer(answer, f"answer {number} of {len(row.answers)}")
            lines += [
                text for one in _eras(rule, judge) for text in _verdict(one, answer, row.label)
            ]
    except BadInput as error:
        message = str(error)
        raise BadInput(message if message.startswith(place) else f"{place}: {message}") from error
    return "\n".join(lines) + "\n"


def _eras(rule: Rule, judge: Judge) -> list[Rule]:
    """Return the rule, and that of its other era."""
    plain, old, _ = rule.name.partition("-2024")
    if ":" in rule.name or plain not in ("gsm8k", "math", "strict_math", "ifeval"):
        return [rule]
    return [rule, judge.chooser.other(rule, "now" if old else "2024")]


def _answer(answer: Answer, name: str) -> list[str]:
    ended = f", ended by {answer.finish_reason}" if answer.finish_reason else ""
    head = f"{name}: {plural(len(answer.text), 'character')}{ended}"
    if not answer.text:
        return [head]
    begin = "… " if len(answer.text) > _END else ""
    return [head, *(f"  | {line}" for line in (begin + answer.text[-_END:]).split("\n"))]


def _verdict(rule: Rule, answer: Answer, label: object) -> list[str]:
    try:
        verdict = verify(rule, answer.text, label)
    except BadInput as error:
        return [f"  {rule.name}: {error}"]
    words = "verified" if verdict.verified else "not verified"
    cut = f", for it has no end token ({answer.finish_reason})" if answer.is_cut else ""
    return [
        f"  {rule.name}: {words}, reward {reward(verdict, answer):g}{cut}",
        f"    {verdict.why}",
    ]
