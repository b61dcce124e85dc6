"""A benchmark as values: what is asked of a model, and how an answer is graded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from tulu_cli.core import Conversation

if TYPE_CHECKING:
    from tulu_cli.evaluation.data import DataFolder

Measure = Literal["accuracy", "F1", "MC2", "pass@10"]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a benchmark. The answer goes on with the last message if it is the assistant's.

    Rows of one `group` belong together: a subject, or the passage that they ask about. With
    `completions` nothing is generated: the model says how likely each of them is.
    """

    id: str
    messages: Conversation
    label: Any
    group: str = ""
    completions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grade:
    """What an answer is worth, from 0 to 1, and what was taken from it to be compared.

    `beside` counts what else its definition measures: so many of so many, a name each.
    """

    score: float
    extracted: str | None
    beside: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark of the card, by the definition of its authors.

    `benchmark` is its name on the card, and `published_rows` how many rows the card's value is of.
    `items` reads its rows, in their order, from its `files`. `grade` compares an answer with the
    label, and `grade_scores` the log-probabilities of given answers; with neither, the answer is
    code that has to be run, and may import `packages`. `is_macro` averages the groups and not the
    rows; `is_clustered` takes the rows of a group for dependent on one another.
    `differs` is what the data here make different from the authors' set-up. `check` raises
    TuluError if what grades the answers is not installed.
    """

    name: str
    benchmark: str
    published_rows: int
    files: tuple[str, ...]
    items: "Callable[[DataFolder], list[Item]]"
    grade: Callable[[str, Any], Grade] | None
    max_tokens: int
    stop: tuple[str, ...] = ()
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    measure: Measure = "accuracy"
    is_macro: bool = False
    is_clustered: bool = False
    differs: tuple[str, ...] = ()
    check: Callable[[], None] | None = None
    grade_scores: Callable[[Sequence[float], Any], Grade] | None = None
    packages: tuple[str, ...] = ()

    @property
    def is_code(self) -> bool:
        """Return True if answers are programs, which are graded by running them."""
        return self.grade is None and self.grade_scores is None

    @property
    def scores(self) -> bool:
        """Return True if given answers are scored, and nothing is generated."""
        return self.grade_scores is not None

    def sampling(self) -> Mapping[str, Any]:
        """Return the sampling of a row, whatever the model's authors advise for other uses."""
        return {
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "stop": list(self.stop),
            "n": self.samples,
        }
