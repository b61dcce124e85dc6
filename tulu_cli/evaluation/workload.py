"""How much a run has to do, as it is told before it begins: rows, and tokens in and out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tulu_cli.evaluation.task import Item, Task
from tulu_cli.loading import Prepared, TokenModel
from tulu_cli.loading.fits import prefill_bound
from tulu_cli.prompt.chat import encode_chat
from tulu_cli.text import duration, plural

if TYPE_CHECKING:
    from tulu_cli.prompt.tokenizer import Tokenizer

_ENCODED = 32  # rows, whose mean stands for all: they are drawn by chance


@dataclass(frozen=True, slots=True)
class Workload:
    """What the rows of a task, of `total` that its data have, ask of an engine.

    `prompt_tokens` are about so many, None where the tokenizer is not here; `answer_tokens` are the
    most, none where answers are given. `least_seconds` is what the GPUs cannot read faster.
    """

    name: str
    rows: int
    total: int
    prompt_tokens: int | None
    answer_tokens: int
    least_seconds: float | None = None

    def line(self) -> str:
        """Return it in words."""
        parts = [f"{plural(self.rows, 'row')} of {self.total:,}"]
        if self.prompt_tokens is not None:
            parts.append(f"about {_rounded(self.prompt_tokens)} tokens in")
        if self.answer_tokens:
            parts.append(f"at most {self.answer_tokens:,} out")
        if self.least_seconds:
            parts.append(
                f"at least {duration(self.least_seconds)} to read, by the GPU's data sheet"
            )
        return f"{self.name}: {', '.join(parts)}"


def _rounded(count: int) -> str:
    """Return a number of which more than two digits would say too much."""
    return f"{round(count, 2 - len(str(count))):,}"


def workload(task: Task, rows: Sequence[Item], total: int, prepared: Prepared) -> Workload:
    """Return what rows of a task ask of the engine that is prepared."""
    answers = len(rows) * task.samples * task.max_tokens
    model = prepared.model
    if not isinstance(model, TokenModel):
        return Workload(task.name, len(rows), total, None, answers)
    some = rows[:_ENCODED]
    tokens = sum(_tokens(item, model.tokenizer) for item in some) * len(rows) // len(some)
    engine = prepared.choice.engine
    bound = prefill_bound(model.spec, model.files.config, engine, prepared.machine)
    least = tokens / bound if bound else None
    return Workload(task.name, len(rows), total, tokens, answers, least)


def _tokens(item: Item, tokenizer: "Tokenizer") -> int:
    """Return the tokens that an engine reads for an item: for each answer, where some are given."""
    continues = item.messages[-1].role == "assistant"
    prompt = encode_chat(
        tokenizer, item.messages, add_generation_prompt=not continues, continue_final=continues
    )
    if not item.completions:
        return len(prompt)
    return sum(len(prompt) + len(tokenizer.encode_text(text)) for text in item.completions)
