"""What a rule says of an answer, and the reward that training gives it."""

from dataclasses import dataclass
from typing import Literal

from tulu_cli.errors import BadInput
from tulu_cli.text import one_line

Era = Literal["now", "2024"]

# Source: the model card, "Penalty Reward Value for Responses without an EOS Token: -10.0", and
# open-instruct, which adds 10 for a verified answer.
VERIFIED, NO_END = 10.0, -10.0
# The finish reasons of an answer that the model itself ended. Not to know is to assume that.
_ENDED = frozenset({None, "stop", "stop_sequence", "eos_token", "end_turn", "tool_calls"})
_LONGEST_QUOTED = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to be verified. `finish_reason` is None where the row does not tell it."""

    text: str
    finish_reason: str | None = None

    @property
    def is_cut(self) -> bool:
        """Return True for an answer without its end token."""
        return self.finish_reason not in _ENDED


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a text: `score` is between 0 and 1, and 1 is what `verified` says.

    `extracted` is what was compared with the label, where the rule extracts something.
    """

    verified: bool
    score: float
    extracted: str | None
    why: str

    @classmethod
    def right(cls, extracted: str | None, why: str) -> "Verdict":
        """Return the verdict on an answer that is right."""
        return cls.of(True, extracted, why)  # noqa: FBT003

    @classmethod
    def wrong(cls, extracted: str | None, why: str) -> "Verdict":
        """Return the verdict on an answer that is not right."""
        return cls.of(False, extracted, why)  # noqa: FBT003

    @classmethod
    def of(cls, verified: bool, extracted: str | None, why: str) -> "Verdict":
        """Return the verdict of a rule that knows no score between 0 and 1."""
        return cls(verified, float(verified), extracted, why)


def reward(verdict: Verdict, answer: Answer) -> float:
    """Return 10 times the score, and -10 for an answer without its end token, right or wrong."""
    return NO_END if answer.is_cut else VERIFIED * verdict.score


def text_label(label: object) -> str:
    """Return a label that is a text or a number as text. Raise BadInput for any other."""
    if isinstance(label, list) and len(label) == 1:  # as datasets of several labels a row have it
        label = label[0]
    if isinstance(label, bool) or not isinstance(label, (str, int, float)):
        kind = "null" if label is None else f"a {type(label).__name__}"
        raise BadInput(f"the label must be a text or a number, and it is {kind}.")
    if not str(label).strip():
        raise BadInput("the label is empty.")
    return str(label)


def quoted(text: str) -> str:
    """Return a text for a sentence, as it is and on one line: LaTeX has backslashes enough."""
    return f"'{one_line(text, _LONGEST_QUOTED)}'"


def own_words(text: str) -> str:
    """Return a text from its last assistant turn on, stripped, as the rules of 2024 do first."""
    return text.rpartition("<|assistant|>\n")[2].strip()


def without_thought(text: str) -> str:
    """Return what stands behind the thought, without answer tags: what IFEval's rules judge."""
    text = text.replace("<|assistant|>", "").strip().rpartition("</think>")[2]
    return text.replace("<answer>", "").replace("</answer>", "").strip()
