"""The answers on which two rules disagree: of two eras, or one of ours and math-verify."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.text import plural
from tulu_cli.verify.records import Judge, bad_record
from tulu_cli.verify.rules import verify


@dataclass
class Disagreements:
    """How often two rules disagree. `only` counts the answers that one of them alone verifies."""

    rows: int = 0
    errors: int = 0
    answers: int = 0
    only_ours: int = 0
    only_other: int = 0
    first_error: str | None = None

    def add(self, others: "Disagreements") -> None:
        """Count those of other rows."""
        self.rows += others.rows
        self.errors += others.errors
        self.answers += others.answers
        self.only_ours += others.only_ours
        self.only_other += others.only_other
        self.first_error = self.first_error or others.first_error

    def told(self) -> str:
        """Return the counts for people."""
        count = self.only_ours + self.only_other
        line = f"{plural(self.rows, 'row')}, {plural(self.answers, 'answer')}; {count:,} with "
        line += f"different verdicts: {self.only_ours:,} verified by the rule alone, "
        return line + f"{self.only_other:,} by the other alone"


@dataclass(frozen=True)
class Against:
    """Compares the rule of each row with another one."""

    judge: Judge
    other: str

    def rows(self, line: bytes, number: int, found: Disagreements) -> Iterator[dict[str, Any]]:
        """Yield a record for each answer of a row with two different verdicts, and count it.

        A row that cannot be verified gives a record that says why.
        """
        place = f"line {number:,}"
        found.rows += 1
        try:
            value, row, rule = self.judge.read(line, place)
            other = self.judge.chooser.other(rule, self.other)
            pairs = [
                (verify(rule, one.text, row.label), verify(other, one.text, row.label))
                for one in row.answers
            ]
        except BadInput as error:
            record = {"line": number, **bad_record(place, error)}
            found.errors += 1
            found.first_error = found.first_error or record["error"]["message"]
            yield record
            return
        for at, (ours, others) in enumerate(pairs):
            found.answers += 1
            if ours.verified == others.verified:
                continue
            found.only_ours += ours.verified
            found.only_other += others.verified
            told = {
                made.name: {"verified": one.verified, "extracted": one.extracted, "why": one.why}
                for made, one in ((rule, ours), (other, others))
            }
            yield {"line": number, "id": value.get("id"), "answer": at, "label": row.label, **told}
