"""Read single fields of a request's body, each refused by its name if it has the wrong type."""

from collections.abc import Iterable, Mapping
from typing import Any

from tulu_cli.errors import BadInput


class BadField(BadInput):
    """A field with a value that cannot be taken: `param` is its name, which begins the sentence."""

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param} {problem}")
        self.param = param


def read_switch(body: Mapping[str, Any], name: str, within: str = "") -> bool:
    """Return the value of a switch, which is off if it is left out or null. Raise BadField.

    The error names it as `within` the field "stream_options.", for example.
    """
    value = body.get(name)
    if value is not None and type(value) is not bool:
        raise BadField(f"{within}{name}", f"takes true or false, not {value!r}.")
    return bool(value)


def read_object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object, which is empty if it is left out or null. Raise BadField."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadField(name, "must be an object.")
    return value or {}


def is_off(value: Any, off: Iterable[Any]) -> bool:
    """Return True for null and the values of `off`; 1 is not true, though Python has it so."""
    same = (one for one in off if isinstance(one, bool) == isinstance(value, bool))
    return value is None or value in list(same)
