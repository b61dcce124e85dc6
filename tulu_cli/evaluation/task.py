"""A benchmark as values: what is asked of a model, and how an answer is graded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tulu_cli.core import Conversation

if TYPE_CHECKING:
    from tulu_cli.evaluation.data import DataFolder

Measure = Literal["accuracy", "F1", "pass@10"]


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a benchmark. The answer goes on with the last message if it is the assistant's.

    Rows of one `group` belong together: a subject, or the passage that they ask about.
    """

    id: str
    messages: Conversation
    label: Any
    group: str = ""


@dataclass(frozen=True, slots=True)
class Grade:
    """What an answer is worth, from 0 to 1, and what was taken from it to be compared."""

    score: float
    extracted: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark of the card, by the definition of its authors.

    `benchmark` is its name on the card, and `published_rows` how many rows the card's value is of.
    `items` reads its rows, in their order, from its `files`. `grade` compares an answer with the
    label; None means that the answer is code, which has to be run. `is_macro` averages the groups
    and not the rows; `is_clustered` takes the rows of a group for dependent on one another.
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
