"""The figures of a run beside those of the card: estimates, verdicts, and what differs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.evaluation import record
from tulu_cli.evaluation.data import SOURCES
from tulu_cli.evaluation.record import Asked, RunRecord, read_record
from tulu_cli.evaluation.task import Task
from tulu_cli.evaluation.tasks import TASKS
from tulu_cli.evaluation.tasks.humaneval import K
from tulu_cli.models.card import Benchmarks, benchmarks
from tulu_cli.models.family import family_model
from tulu_cli.statistics import Estimate, Z, estimate, rows_for_a_point
from tulu_cli.text import plural
from tulu_cli.verify.summary import pass_at

Judgement = Literal["within", "below", "above", "not comparable"]
# The context of the authors' own runs: open-instruct's scripts/eval/oe-eval.sh.
_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class Scored:
    """One row with its score, from 0 to 1; `is_cut` says that an answer has no end.

    `beside` is what else its definition counts: so many of so many, a name each.
    """

    id: str
    group: str
    score: float
    is_cut: bool
    beside: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """The figure of a task. `card` is in percent, as the card has it; None where it has none.

    `waiting` rows have answers whose code was not run; `errors` rows have none, and `missing` rows
    were not asked yet. `breaks` says why the figure cannot be compared with the card's, `notes`
    what else differs from the authors' set-up.
    """

    task: Task
    asked: Asked
    estimate: Estimate | None
    scored: tuple[Scored, ...]
    waiting: int
    errors: int
    missing: int
    card: float | None
    verdict: Judgement
    breaks: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def cut(self) -> int:
        """Return how many graded rows have an answer that was cut by the limit of tokens."""
        return sum(one.is_cut for one in self.scored)

    @property
    def beside(self) -> dict[str, float]:
        """Return the shares of what else the definition counts, over the graded rows."""
        totals: dict[str, list[int]] = {}
        for row in self.scored:
            for name, (right, count) in row.beside.items():
                total = totals.setdefault(name, [0, 0])
                total[0] += right
                total[1] += count
        return {name: right / count for name, (right, count) in totals.items() if count}

    @property
    def rows_for_a_point(self) -> int | None:
        """Return how many rows would see a difference of one point; None without any score."""
        return None if self.estimate is None else rows_for_a_point(self.estimate)


def read_run(folder: Path) -> tuple[RunRecord, list[Result]]:
    """Return how the answers of a folder were made, and the result of each task in it.

    Raise BadInput if it is not a folder of results.
    """
    made = read_record(folder)
    if made is None:
        raise BadInput(f"{str(folder)!r} has no {record.RUN}: it is not a folder of tulu eval.")
    return made, [result(folder, task, made) for name, task in TASKS.items() if name in made.tasks]


def result(folder: Path, task: Task, made: RunRecord) -> Result:
    """Return the result of one task. Raise BadInput if its files cannot be read."""
    asked = made.tasks[task.name]
    task = replace(task, max_tokens=asked.max_tokens, samples=asked.samples)
    scored, waiting, errors = _scores(folder, task)
    missing = asked.rows - len(scored) - waiting - errors
    one = None
    if scored:
        one = estimate(
            [row.score for row in scored],
            [row.group for row in scored],
            is_macro=task.is_macro,
            is_clustered=task.is_clustered,
        )
    breaks = (*_breaks(task, asked), *_unfinished(waiting, errors, missing))
    value = card_score(task.benchmark, made.card)
    return Result(
        task,
        asked,
        one,
        tuple(scored),
        waiting,
        errors,
        missing,
        value,
        verdict(one, value, task) if not breaks else "not comparable",
        breaks if value is not None else (*breaks, "the card has no value for this model"),
        _notes(task, asked, made),
    )


def _scores(folder: Path, task: Task) -> tuple[list[Scored], int, int]:
    """Return the rows with a score, how many wait for their code to be run, and how many failed."""
    ran = {}
    if task.is_code:
        ran = {
            (one["id"], one["key"]): one
            for one in record.read_records(record.ran(folder, task.name))
        }
    scored, waiting, errors = [], 0, 0
    for one in record.read_records(record.answers(folder, task.name)):
        try:
            if "error" in one:
                errors += 1
                continue
            passes = ran.get((one["id"], one["key"])) if task.is_code else None
            score = _passes(passes) if task.is_code else one.get("score")
            if score is None:
                waiting += 1
                continue
            is_cut = one.get("finish_reason") == "length"
            group, beside = one["columns"]["group"], one.get("beside", {})
            scored.append(Scored(one["id"], group, float(score), is_cut, beside))
        except (KeyError, TypeError, ValueError) as error:
            place = str(record.answers(folder, task.name))
            raise BadInput(f"{place!r} has a row without a grade: is it of tulu eval?") from error
    return scored, waiting, errors


def _passes(ran: dict[str, Any] | None) -> float | None:
    if ran is None:
        return None
    passed = ran["passed"]
    return pass_at(min(K, len(passed)), len(passed), sum(passed))


def _breaks(task: Task, asked: Asked) -> list[str]:
    """Return what makes a figure one of another quantity than the card's."""
    published = TASKS[task.name]
    found = list(task.differs) if asked.own_data is None else []
    if asked.own_data is not None and not _are_complete(task, asked):
        found.append(f"the rows are of {asked.own_data}")
    if asked.max_tokens != published.max_tokens:
        found.append(f"{asked.max_tokens:,} tokens an answer, not {published.max_tokens:,}")
    if asked.samples < K < published.samples:
        found.append(f"pass@{asked.samples} of {asked.samples} samples, not {task.measure}")
    return found


def _are_complete(task: Task, asked: Asked) -> bool:
    """Return True for rows that Ai2's wheel has not, if they are as many as the authors have."""
    return not SOURCES[task.name].is_in_ai2_wheel and asked.total == task.published_rows


def _unfinished(waiting: int, errors: int, missing: int) -> list[str]:
    found = [f"not graded without --run-code: {plural(waiting, 'row')}"] if waiting else []
    found += [f"without an answer: {plural(errors, 'row')}"] if errors else []
    return found + ([f"not asked yet: {plural(missing, 'row')}"] if missing > 0 else [])


def _notes(task: Task, asked: Asked, made: RunRecord) -> tuple[str, ...]:
    """Return what differs from the authors' set-up, and may be what is to be tested."""
    engine = asked.engine or "unknown"
    notes = []
    if asked.own_data is not None and _are_complete(task, asked):
        notes.append(f"the rows are of {asked.own_data}, as many as the authors' and unchecked")
    if asked.rows < asked.total:
        notes.append(f"{asked.rows:,} of {asked.total:,} rows, drawn by chance")
    if made.server is not None:
        notes.append(f"the server at {made.server} makes the prompts")
    elif not made.is_tulu_template:
        notes.append("another chat template than Tülu 3's")
    notes += [] if engine == "vllm" else [f"engine {engine}, not vLLM"]
    if asked.dtype not in (None, "bfloat16"):
        notes.append(f"dtype {asked.dtype}, not bfloat16")
    notes += [f"with the adapter {made.adapter}"] if made.adapter else []
    notes += [f"quantization {made.quantization}"] if made.quantization else []
    if made.max_model_len is not None and made.max_model_len < _CONTEXT:
        notes.append(f"context {made.max_model_len:,}, not {_CONTEXT:,}")
    return tuple(notes)


def card_table(alias: str | None) -> Benchmarks | None:
    """Return the table of the card with a model in it, None if there is none."""
    model = family_model(alias)
    try:
        return None if model is None else benchmarks(model)
    except TuluError:
        return None


def card_score(benchmark: str, alias: str | None) -> float | None:
    """Return the card's value of a benchmark in percent, None if it has none for the model."""
    table = card_table(alias)
    if table is None or alias is None:
        return None
    row = next(one for one in table.rows if one.benchmark == benchmark)
    return row.scores[table.ours.index(alias)]


def verdict(one: Estimate | None, card: float | None, task: Task) -> Judgement:
    """Return whether chance explains the difference of a figure from the card's at 95 %.

    The card's value is one of a sample too, as large as the authors'. That both have many rows in
    common is left aside: it makes the verdict more careful.
    """
    if one is None or card is None:
        return "not comparable"
    value = card / 100
    own = Z * math.sqrt(value * (1 - value) / task.published_rows)
    off = one.value - value
    reach = math.hypot(one.value - one.low if off > 0 else one.high - one.value, own)
    if abs(off) <= reach:
        return "within"
    return "above" if off > 0 else "below"
