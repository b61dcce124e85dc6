"""Reading the values of options without pydantic, which Typer loads for each of them.

Loading it takes as long as all the rest of starting up. A value that is plain and good is read
here; whatever is not goes Typer's own way, so that errors and odd types are the same as ever.
"""

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from typer.core import TyperCommand

_PLAIN = (str, int, float, bool)


class Command(TyperCommand):
    """A command that reads plain values itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments, as Typer does but for the values."""
        annotations: Mapping[str, Any] = getattr(self.callback, "__annotations__", {})
        for parameter in self.get_params(ctx):  # with --help, which no function declares
            kind = plain_kind(annotations.get(str(parameter.name), bool))
            # --help is a flag whose callback wants to know only that it was given.
            free = parameter.callback is None or parameter.name == "help"
            if kind is not None and free:
                parameter.process_value = _reader(parameter, kind)  # type: ignore[method-assign]
        return super().parse_args(ctx, args)


def plain_kind(annotation: Any) -> tuple[type, float, float] | None:
    """The type of one value, with its least and its most; None for what is not plain."""
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
    return (annotation, least, most) if annotation in _PLAIN else None


def read_plain(value: Any, kind: tuple[type, float, float]) -> Any:
    """A text as a value of its kind. Raises ValueError for what is not plainly one."""
    wanted: Any
    wanted, least, most = kind
    if wanted is str and type(value) is str:
        return value
    # A flag is no text, and its callback may have something to do.
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
