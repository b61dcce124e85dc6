"""Read the values of options without pydantic, which Typer would import for them.

The import takes as long as the rest of starting up. Only valid values of plain types are read
here; Typer reads all others, so that its errors and its other types stay as they are.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from typer.core import TyperCommand

from tulu_cli.cli.help import SectionedHelp

_PLAIN = (str, int, float, bool)


class Command(SectionedHelp, TyperCommand):
    """A command that reads plain values itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; plain values without pydantic, all others as Typer does."""
        annotations: Mapping[str, Any] = getattr(self.callback, "__annotations__", {})
        for parameter in self.get_params(ctx):  # with --help, which no function declares
            kind = plain_kind(annotations.get(str(parameter.name), bool))
            # --help is a flag whose callback wants to know only that it was given.
            free = parameter.callback is None or parameter.name == "help"
            if kind is not None and free:
                parameter.process_value = _reader(parameter, kind)  # type: ignore[method-assign]
        return super().parse_args(ctx, args)


def plain_kind(annotation: Any) -> tuple[type, float, float] | None:
    """Return the type of a value with its bounds, or None if it is not a plain type."""
    least, most = float("-inf"), float("inf")
    if get_origin(annotation) is Annotated:
        annotation, *declared = get_args(annotation)
        if any(getattr(option, "parser", None) for option in declared):
            return None
        for option in declared:
            least = option.min if getattr(option, "min", None) is not None else least
            most = option.max if getattr(option, "max", None) is not None else most
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        annotation = kinds[0] if len(kinds) == 1 else None
    if get_origin(annotation) is list:
        (annotation,) = get_args(annotation)
    return (annotation, least, most) if annotation in _PLAIN or is_choice(annotation) else None


def is_choice(annotation: Any) -> bool:
    """Return True for a type whose values are a few texts."""
    return isinstance(annotation, type) and issubclass(annotation, StrEnum)


def read_plain(value: Any, kind: tuple[type, float, float]) -> Any:
    """Return a text as a value of its kind. Raise ValueError if it is not plainly one."""
    wanted: Any
    wanted, least, most = kind
    if wanted is str and type(value) is str:
        return value
    if is_choice(wanted):
        return wanted(value)
    # A flag is not a text, and its callback may have something to do.
    plain = wanted in (int, float) and str(value).isascii() and "_" not in str(value)
    number = wanted(value) if plain else None
    if number is None or not least <= number <= most:
        raise ValueError(value)
    return number


def _reader(parameter: Any, kind: tuple[type, float, float]) -> Callable[..., Any]:
    otherwise, repeatable = parameter.process_value, parameter.multiple
    many = repeatable or parameter.nargs == -1

    def process_value(ctx: Any, value: Any) -> Any:
        if value is None and not parameter.required:
            return () if repeatable else None
        try:
            if many and value and not isinstance(value, str):
                return [read_plain(each, kind) for each in value]
            return read_plain(value, kind)
        except ValueError:
            return otherwise(ctx, value)

    return process_value
