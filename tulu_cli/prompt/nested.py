"""Walking the JSON-like values that a conversation is made of."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON-like value, the keys of objects included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def map_texts(value: Any, change: Callable[[str], str], change_key: Callable[[str], str]) -> Any:
    """A copy of a JSON-like value with every text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {
            map_texts(key, change_key, change_key): map_texts(item, change, change_key)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [map_texts(item, change, change_key) for item in value]
    return value
