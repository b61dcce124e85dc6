"""The settings of the reinforcement learning in each format."""

import csv
import io
import json
from textwrap import wrap
from typing import Any

from tulu_cli.models.card import Hyperparameter, card
from tulu_cli.render.columns import GAP, aligned

TITLE = "PPO settings for RLVR"
_NARROWEST = 20


def as_lines(settings: tuple[Hyperparameter, ...], width: int) -> list[str]:
    """Format the settings in the words of the card; long names are wrapped."""
    room = max(width - max(len(row.text) for row in settings) - len(GAP), _NARROWEST)
    rows = []
    for row in settings:
        first, *others = wrap(row.name, room)
        rows += [(first, row.text), *((f"  {other}", "") for other in others)]
    return aligned(rows)


def as_object(settings: tuple[Hyperparameter, ...]) -> dict[str, Any]:
    """Return the settings for JSON: numbers as numbers."""
    return {row.key: row.value for row in settings}


def as_toml(settings: tuple[Hyperparameter, ...]) -> list[str]:
    """Format the settings as TOML, the card's own name of each in a comment."""
    head = [f"# {TITLE}: {card().source}", "[ppo]"]
    return head + [f"{row.key} = {_toml(row.value)}  # {row.name}" for row in settings]


def as_markdown(settings: tuple[Hyperparameter, ...]) -> list[str]:
    """Format the settings as a Markdown table of two columns."""
    rows = [f"| {row.name} | {row.text} |" for row in settings]
    return [f"| {TITLE} | Value |", "|---|---|", *rows]


def as_csv(settings: tuple[Hyperparameter, ...]) -> str:
    """Format the settings as CSV: key, name, and the card's text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "name", "value"))
    writer.writerows((row.key, row.name, row.text) for row in settings)
    return text.getvalue()


def _toml(value: Any) -> str:
    """Format a value as TOML, a table on one line; all others are as in JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
