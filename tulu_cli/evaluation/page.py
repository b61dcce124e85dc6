"""Results as a page for a browser: a picture of the intervals beside the card, and the table.

It is whole in itself: no scripts, no requests, light or dark as the reader has it.
"""

from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from tulu_cli.disk import replace_atomically
from tulu_cli.evaluation.record import PAGE, REPORT, RunRecord
from tulu_cli.evaluation.report import about, as_markdown, heading, setup, table
from tulu_cli.evaluation.results import Result
from tulu_cli.statistics import Estimate
from tulu_cli.text import command_free

_LEFT, _RIGHT, _WIDTH, _ROW, _TOP = 110, 24, 760, 34, 16
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --faint: #ddd; --yours: #0b6e99;
  --card: #c2410c; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8e8e8; --paper: #16181b; --faint: #3a3d41;
  --yours: #6cc4ea; --card: #fb923c; }} }}
body {{ background: var(--paper); color: var(--ink); font: 16px/1.5 sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; overflow-wrap: anywhere; }}
svg {{ display: block; height: auto; width: 100%; }}
svg text {{ fill: var(--ink); }}
.grid {{ stroke: var(--faint); }}
.yours {{ fill: var(--yours); stroke: var(--yours); }}
.card {{ stroke: var(--card); }}
table {{ border-collapse: collapse; }}
th, td {{ border-bottom: 1px solid var(--faint); padding: .2rem .8rem; text-align: right; }}
th:first-child, td:first-child, th:last-child, td:last-child {{ text-align: left; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{setup}</p>
{picture}
<table>
{rows}
</table>
{about}
</body>
</html>
"""


def write_pages(folder: Path, made: RunRecord, results: Sequence[Result]) -> None:
    """Write the results of a folder into it, as Markdown and as HTML, if that can be done."""
    with suppress(OSError):  # a folder of somebody else's can be shown all the same
        for name, page in ((REPORT, as_markdown), (PAGE, as_html)):
            text = page(made, results)
            replace_atomically(folder / name, text.encode("utf-8", "replace"), mode=0o644)


def as_html(made: RunRecord, results: Sequence[Result]) -> str:
    """Return the page. Whatever a model, a folder or a server is called is text in it."""
    head, *rows = table(made, results)
    lines = [_row(head, "th"), *(_row(row, "td") for row in rows)]
    return _PAGE.format(
        title=_text(heading(made)),
        setup=_text(setup(made)),
        picture=picture(results),
        rows="\n".join(lines),
        about="\n".join(map(_about, results)),
    )


def _text(text: str) -> str:
    return escape(command_free(text))


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _about(one: Result) -> str:
    head, *notes = about(one)
    listed = "".join(f"<li>{_text(note.strip())}</li>" for note in notes)
    return f"<h2>{_text(head)}</h2>\n<ul>{listed}</ul>"


def picture(results: Sequence[Result]) -> str:
    """Return the intervals from 0 to 100 %, a row a task, with the card's values; SVG.

    Return nothing if no task has a value.
    """
    shown = [(one, one.estimate) for one in results if one.estimate is not None]
    if not shown:
        return ""
    bottom = _TOP + _ROW * len(shown)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {bottom + 62}" font-size="13" role="img">',
        "<title>Each task's value with its 95 % interval, and the card's value</title>",
    ]
    for share in range(0, 101, 20):
        at = _across(share / 100)
        parts.append(f'<line class="grid" x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 18}" text-anchor="middle">{share}</text>')
    for number, (one, found) in enumerate(shown):
        parts.append(_interval(one, found, _TOP + _ROW * number + _ROW // 2))
    legend = bottom + 46
    parts += [
        _mark(_LEFT + 6, legend - 4),
        f'<text x="{_LEFT + 18}" y="{legend}">yours, with its 95 % interval</text>',
        _card(_LEFT + 256, legend - 4),
        f'<text x="{_LEFT + 264}" y="{legend}">the card</text>',
        "</svg>",
    ]
    return "\n".join(parts)


def _interval(one: Result, found: Estimate, down: int) -> str:
    low, high, value = (_across(share) for share in (found.low, found.high, found.value))
    said = f"{one.task.name}: {100 * found.value:.1f}, {100 * found.low:.1f} to "
    said += f"{100 * found.high:.1f}"
    said += "" if one.card is None else f"; the card: {one.card:.1f}"
    parts = [
        f"<g><title>{_text(said)}</title>",
        f'<text x="{_LEFT - 12}" y="{down + 5}" text-anchor="end">{_text(one.task.name)}</text>',
        f'<line class="yours" x1="{low}" y1="{down}" x2="{high}" y2="{down}" stroke-width="3"/>',
        _mark(value, down),
    ]
    parts += [] if one.card is None else [_card(_across(one.card / 100), down)]
    return "".join([*parts, "</g>"])


def _mark(across: float, down: int) -> str:
    return f'<circle class="yours" cx="{across}" cy="{down}" r="5"/>'


def _card(across: float, down: int) -> str:
    line = f'x1="{across}" y1="{down - 11}" x2="{across}" y2="{down + 11}"'
    return f'<line class="card" {line} stroke-width="3"/>'


def _across(share: float) -> float:
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)
