"""A task's rows in the order in which they are asked, as `tulu batch` takes them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b, sha256
from typing import Any

from tulu_cli.evaluation.task import Item


def drawn(items: Sequence[Item], limit: int | None, *, is_macro: bool) -> list[Item]:
    """Return the first `limit` items of a fixed random order, all of them if it is None.

    The order follows from the items alone, so that a larger limit goes on with a smaller one.
    Where groups are averaged, they take turns: each has as many rows as the others.
    """
    shuffled = sorted(items, key=_chance)
    if is_macro:
        turns: dict[str, int] = defaultdict(int)
        ranked = []
        for item in shuffled:
            ranked.append((turns[item.group], item))
            turns[item.group] += 1
        shuffled = [item for _, item in sorted(ranked, key=lambda one: one[0])]
    return shuffled[:limit]


def _chance(item: Item) -> bytes:
    return blake2b(item.id.encode(), digest_size=8).digest()


def row(item: Item, sampling: Mapping[str, Any]) -> str:
    """Return the line of an item."""
    made: dict[str, Any] = {
        "id": item.id,
        "messages": [message.as_dict() for message in item.messages],
    }
    made |= {"completions": item.completions} if item.completions else {"sampling": dict(sampling)}
    made |= {"group": item.group, "label": item.label}
    if item.messages[-1].role == "assistant":
        made["continue_final_message"] = True
    return json.dumps(made, ensure_ascii=False) + "\n"


def digest(items: Sequence[Item]) -> str:
    """Return the SHA-256 of the lines of all items, without a sampling: which rows they are."""
    found = sha256()
    for item in items:
        found.update(row(item, {}).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def prefills(items: Sequence[Item]) -> bool:
    """Return True if answers go on with a message that has begun."""
    return any(item.messages[-1].role == "assistant" for item in items)
