"""A model of the family as its card describes it, as text and for JSON."""

from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from tulu_cli.models import TULU_SYSTEM_PROMPT, FamilyModel
from tulu_cli.models.card import card, lineage, page
from tulu_cli.text import gib

# Longer lines are hard to read.
_WIDEST = 100


def as_lines(model: FamilyModel, width: int) -> list[str]:
    """Format the card without its tables."""
    width = min(width, _WIDEST)
    lines = [*fields(_summary(model), width)]
    if is_tulu(model):
        lines += _sections(width)
    return lines


def as_object(model: FamilyModel) -> dict[str, Any]:
    """Return the card for JSON; its part `card` is null for a model of another family."""
    whole = card()
    about = {
        "source": whole.source,
        "description": whole.description,
        "model_type": whole.model_type,
        "languages": whole.languages,
        "license": whole.license,
        "license_and_use": whole.license_and_use,
        "limits": whole.limits,
        "links": dict(whole.links),
        "system_prompt": TULU_SYSTEM_PROMPT,
        "prompt_format": whole.prompt_format,
        "end_token": whole.end_token,
        "end_token_id": whole.end_token_id,
    }
    return {
        "alias": model.alias,
        "repository": model.repository,
        "page": page(model),
        "stage": model.stage,
        "size": model.size,
        "license": model.license,
        "parameters": model.parameters,
        "lineage": lineage(model),
        "card": about if is_tulu(model) else None,
    }


def is_tulu(model: FamilyModel) -> bool:
    """Return True if the card is about this model's family: the demo is of another one."""
    return model.repository.startswith("allenai/")


def fields(rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Format a name and a text on each line; long texts are wrapped in their column."""
    rows = list(rows)
    margin = max(len(name) for name, _ in rows) + 2
    lines = []
    for name, text in rows:
        first, *others = [
            part for line in text.split("\n") for part in _wrapped(line, width - margin)
        ]
        lines.append(f"{name.ljust(margin)}{first}")
        lines += [" " * margin + other for other in others]
    return lines


def _summary(model: FamilyModel) -> list[tuple[str, str]]:
    rows = [
        ("Model", f"{model.alias}, {model.repository}"),
        ("Stage", model.stage),
        ("Parameters", f"{model.parameters:,}, {gib(model.weight_bytes)} in bf16"),
        ("Comes from", "\n".join(lineage(model)[:-1])),
        ("License", card().license if is_tulu(model) else model.license),
        ("Page", page(model)),
    ]
    if is_tulu(model):
        whole = card()
        rows[2:2] = [("Type", whole.model_type), ("Languages", whole.languages)]
    return rows


def _sections(width: int) -> list[str]:
    whole = card()
    prose = {
        "Description": [whole.description],
        "License and use": whole.license_and_use,
        "Bias, risks and limits": [whole.limits],
        "Context": [whole.context_note],
    }
    lines: list[str] = []
    for title, paragraphs in prose.items():
        lines += ["", title]
        lines += [part for text in paragraphs for part in _wrapped(text, width, "  ")]
    lines += ["", "Links", *(f"  {name}: {link}" for name, link in whole.links.items())]
    lines += ["", "Prompt format", *(f"    {line}" for line in whole.prompt_format.split("\n"))]
    lines += _wrapped(whole.prompt_format_note, width, "  ")
    lines += ["", "System prompt", f"    {TULU_SYSTEM_PROMPT}"]
    lines += _wrapped(whole.system_prompt_note, width, "  ")
    return [*lines, "", f"Source: {whole.source}."]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return wrap(
        text,
        max(width, 20),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]
