"""Results as a table for a terminal, as JSON, and as a page of Markdown."""

from collections.abc import Sequence
from typing import Any

from tulu_cli.evaluation.record import RunRecord
from tulu_cli.evaluation.results import Result, card_score
from tulu_cli.evaluation.tasks import JUDGED, NEEDS_JUDGE, TASKS
from tulu_cli.render.columns import aligned
from tulu_cli.statistics import Estimate
from tulu_cli.text import plural

_HEAD = ("task", "card", "yours", "95 % interval", "n", "verdict")
_RIGHT = (1, 2, 3, 4)
_BAR = 40  # columns of a bar, which is from 0 to 100 %
_MARKS, _ASCII_MARKS = ("·", "━", "●", "│"), (".", "=", "o", "|")
_NOTHING = "-"
_LONGEST_NAME = max(map(len, TASKS))


def as_lines(made: RunRecord, results: Sequence[Result], *, bars: bool, utf8: bool) -> list[str]:
    """Return the table with what differs from the card's set-up below it."""
    lines = aligned(table(made, results), _RIGHT)
    if bars:
        shown = [one for one in results if one.estimate is not None]
        labels = [f"{one.task.name:<{_LONGEST_NAME}}" for one in shown]
        lines += [
            "",
            *(f"{label}  {_bar(one, utf8)}" for label, one in zip(labels, shown, strict=True)),
        ]
        lines += [f"{'':<{_LONGEST_NAME}}  {_legend(utf8)}"] if shown else []
    for one in results:
        lines += ["", *about(one)]
    return lines


def table(made: RunRecord, results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return the head and the rows, those that are not measured here at the end."""
    return [_HEAD, *map(_cells, results), *_judged(made)]


def _cells(one: Result) -> tuple[str, ...]:
    found = one.estimate
    return (
        one.task.name,
        _NOTHING if one.card is None else f"{one.card:.1f}",
        _NOTHING if found is None else _percent(found.value),
        _NOTHING if found is None else f"{_percent(found.low)} to {_percent(found.high)}",
        f"{0 if found is None else found.n:,}",
        one.verdict,
    )


def _judged(made: RunRecord) -> list[tuple[str, ...]]:
    scores = [(name, card_score(name, made.card)) for name in JUDGED]
    return [
        (name, f"{score:.1f}", _NOTHING, _NOTHING, _NOTHING, NEEDS_JUDGE)
        for name, score in scores
        if score is not None
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _bar(one: Result, utf8: bool) -> str:
    """Return an interval from 0 to 100 % with the value, and the card's."""
    found = one.estimate
    assert found is not None
    blank, within, value, card = _MARKS if utf8 else _ASCII_MARKS
    cells = [blank] * _BAR
    for at in range(_at(found.low), _at(found.high) + 1):
        cells[at] = within
    cells[_at(found.value)] = value
    if one.card is not None and cells[_at(one.card / 100)] != value:
        cells[_at(one.card / 100)] = card
    return "".join(cells)


def _at(share: float) -> int:
    return min(_BAR - 1, int(share * _BAR))


def _legend(utf8: bool) -> str:
    _, within, value, card = _MARKS if utf8 else _ASCII_MARKS
    return f"0 to 100 %: {value} yours, {within} its 95 % interval, {card} the card"


def about(one: Result) -> list[str]:
    """Return what is to be known beside the figure of a task."""
    lines = [f"{one.task.name}: {_measure(one)}"]
    lines += [f"  not comparable: {reason}" for reason in one.breaks]
    lines += [f"  differs from the authors' set-up: {note}" for note in one.notes]
    if one.beside:
        shares = (f"{name} {_percent(share)}" for name, share in one.beside.items())
        lines.append(f"  beside: {'; '.join(shares)}")
    if one.cut:
        lines.append(f"  cut by the limit of tokens: {plural(one.cut, 'answer')}")
    if one.asked.rows_sha256:
        rows = "the row has" if one.asked.total == 1 else f"all {one.asked.total:,} rows have"
        lines.append(f"  {rows} SHA-256 {one.asked.rows_sha256[:16]}...")
    if one.estimate is not None and one.rows_for_a_point is not None:
        lines.append(
            f"  the interval is {one.estimate.method}; one point to each side takes about "
            f"{one.rows_for_a_point:,} rows"
        )
    return lines


def _measure(one: Result) -> str:
    what: str = one.task.measure
    if what == "pass@10" and one.task.samples < 10:
        what = f"pass@{one.task.samples}"
    made = " ".join(filter(None, (one.asked.engine, one.asked.dtype, one.asked.device)))
    what = f"{what}, the mean of the groups' means" if one.task.is_macro else what
    return f"{what}; {made}" if made else what


def as_object(made: RunRecord, results: Sequence[Result]) -> dict[str, Any]:
    """Return the results for JSON, shares from 0 to 1 and the card's values in percent."""
    return {
        "model": made.model,
        "revision": made.revision,
        "card": made.card,
        "quantization": made.quantization,
        "max_model_len": made.max_model_len,
        "template_sha256": made.template_sha256,
        "system": None,
        "server": made.server,
        "tasks": {one.task.name: _object(one) for one in results},
        "not_measured": {name: card_score(name, made.card) for name in JUDGED},
    }


def _object(one: Result) -> dict[str, Any]:
    return {
        "benchmark": one.task.benchmark,
        "measure": _measure(one),
        "card": one.card,
        **_figures(one.estimate),
        "engine": one.asked.engine,
        "device": one.asked.device,
        "dtype": one.asked.dtype,
        "versions": dict(one.asked.versions),
        "total": one.asked.total,
        "rows_sha256": one.asked.rows_sha256,
        "beside": {name: round(share, 6) for name, share in one.beside.items()},
        "cut": one.cut,
        "waiting": one.waiting,
        "errors": one.errors,
        "missing": one.missing,
        "rows_for_a_point": one.rows_for_a_point,
        "verdict": one.verdict,
        "not_comparable": list(one.breaks),
        "differs": list(one.notes),
    }


def _figures(found: Estimate | None) -> dict[str, Any]:
    if found is None:
        return {"value": None, "low": None, "high": None, "n": 0, "interval": None}
    names = ("value", "low", "high")
    figures: dict[str, Any] = {name: round(getattr(found, name), 6) for name in names}
    return {**figures, "n": found.n, "interval": found.method}


def as_markdown(made: RunRecord, results: Sequence[Result]) -> str:
    """Return the table and what differs as a page."""
    head, *others = table(made, results)
    rows = [head, ("---", *["--:"] * len(_RIGHT), "---"), *others]
    notes = [line for one in results for line in (f"\n{about(one)[0]}\n", *_bullets(one))]
    listed = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((f"# {heading(made)}", "", setup(made), "", listed, *notes)) + "\n"


def _bullets(one: Result) -> list[str]:
    return [f"- {line.strip()}" for line in about(one)[1:]]


def heading(made: RunRecord) -> str:
    """Return the title of a page."""
    return made.model + (f", beside the card of {made.card}" if made.card else "")


def setup(made: RunRecord) -> str:
    """Return how the answers were made, but for what each task tells of its own."""
    parts = (
        made.quantization,
        f"context {made.max_model_len:,}" if made.max_model_len else None,
        "no system prompt",
        f"chat template SHA-256 {made.template_sha256}" if made.template_sha256 else None,
    )
    return ", ".join(filter(None, parts))
