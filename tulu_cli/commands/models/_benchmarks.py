"""The card's evaluation table in each format, the best score of each row marked."""

import csv
import io
from textwrap import wrap
from typing import Any

from tulu_cli.models.card import BenchmarkRow, Benchmarks, card
from tulu_cli.render.columns import bar_chart, score_table

_MOST = 100.0  # percent
_ENDLESS = 10_000
_NOTE = 72


def as_lines(table: Benchmarks, width: int | None) -> list[str]:
    """Format the table as text; the settings of benchmarks are left out if they do not fit."""
    columns = [
        (name, [_marked(row, column) for row in table.rows])
        for column, name in enumerate(table.models)
    ]
    whole = score_table([_label(row) for row in table.rows], columns, _ENDLESS)
    if width is None or max(map(len, whole)) <= width:
        return whole
    return score_table([row.benchmark for row in table.rows], columns, width)


def footnotes(table: Benchmarks, *, whole: bool) -> list[str]:
    """Return the settings that a table not `whole` leaves out, the unit and the source."""
    labels = ", ".join(_label(row) for row in table.rows if row.setting)
    source = f"Percent; * is the best of its row. Source: {card().source}."
    return [*([] if whole else wrap(f"Settings: {labels}.", _NOTE)), source]


def as_plot(table: Benchmarks, width: int, *, utf8: bool) -> list[str]:
    """Draw a bar for each model, benchmark by benchmark, all on a scale of 0 to 100."""
    lines: list[str] = []
    for row in table.rows:
        bars = [
            (name if utf8 else _ascii(name), row.scores[column], _marked(row, column))
            for column, name in enumerate(table.models)
        ]
        lines += ["", _label(row)] if lines else [_label(row)]
        lines += bar_chart(bars, _MOST, width, utf8=utf8)
    return lines


def as_object(table: Benchmarks) -> dict[str, Any]:
    """Return the table for JSON."""
    rows = [
        {
            "benchmark": row.benchmark,
            "setting": row.setting,
            "scores": dict(zip(table.models, row.scores, strict=True)),
            "best": [name for name, best in zip(table.models, row.best, strict=True) if best],
        }
        for row in table.rows
    ]
    return {"size": table.size, "models": table.models, "rows": rows, "source": card().source}


def as_csv(table: Benchmarks) -> str:
    """Format the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("benchmark", "setting", *table.models))
    writer.writerows((row.benchmark, row.setting, *row.scores) for row in table.rows)
    return text.getvalue()


def as_markdown(table: Benchmarks) -> list[str]:
    """Format the table as Markdown, as in the card; the best scores are bold."""
    lines = [
        "| " + " | ".join(("Benchmark (eval)", *table.models)) + " |",
        "|---" + "|--:" * len(table.models) + "|",
    ]
    for row in table.rows:
        scores = [
            f"**{score}**" if best else str(score)
            for score, best in zip(row.scores, row.best, strict=True)
        ]
        lines.append("| " + " | ".join((_label(row), *scores)) + " |")
    return lines


def _label(row: BenchmarkRow) -> str:
    return f"{row.benchmark} ({row.setting})" if row.setting else row.benchmark


def _marked(row: BenchmarkRow, column: int) -> str:
    return f"{row.scores[column]:.1f}" + ("*" if row.best[column] else " ")


def _ascii(name: str) -> str:
    return name.replace("ü", "u")
