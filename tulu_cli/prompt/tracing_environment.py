"""The Jinja environment in which a rendered text says where each of its characters came from.

It gives the text that `environment` gives; see `tracing` for what its texts know.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial, wraps
from typing import Any

from jinja2 import filters, nodes
from jinja2.compiler import Frame
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedFormatter

from tulu_cli.prompt import limits, tracing
from tulu_cli.prompt.environment import OPTIONS, Environment, Generator, configured, tojson


class TracingGenerator(Generator):
    """Write code that shows and concatenates values with their traces."""

    def _output_child_pre(self, node: nodes.Expr, *_: Any) -> None:
        self._shown = node
        self.write("environment.shown(")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        """Write a concatenation by `~`."""
        self.write("environment.concat(map(environment.shown, (")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write(")))")


class TracingEnvironment(Environment):
    """The sandbox, in which a text keeps the trace of the input that it came from.

    What a filter makes of a traced text counts as the input's as a whole, but for those filters
    that are known to hand texts on, or to work with methods of str alone.
    """

    code_generator_class = TracingGenerator
    shown = staticmethod(tracing.shown)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right`, formatting with traces."""
        if operator == "%" and isinstance(left, str):
            limits.check_format(left, right)
            return limits.checked(tracing.percent(left, right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function; a method of a text of the template's traces what it is given."""
        method = getattr(function, "__wrapped__", function)
        text = getattr(method, "__self__", None)
        given = (text, args, kwargs)
        if isinstance(text, str) and next(tracing.origins_in(given), None) is not None:
            if method is not function:
                limits.check_format(text, [*args, *kwargs.values()], "{")
                function = partial(self._format, text, function)
            elif type(text) is str:
                function = getattr(tracing.untraced(text), method.__name__)
        return super().call(context, function, *args, **kwargs)

    def _format(self, text: str, real: Callable[..., str], *args: Any, **kwargs: Any) -> str:
        """Return `text.format(...)`, as the sandbox does it by `real`."""
        if isinstance(text, tracing.Traced):
            return tracing.whole(str.__str__(real(*args, **kwargs)), text, args, kwargs)
        if real.__name__ == "format_map":
            return TracingFormatter(self).vformat(text, (), *args)
        return TracingFormatter(self).vformat(text, args, kwargs)

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Return the output of a template, a block or a macro as one text."""
        kept: list[str] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            kept.append(piece)
            limits.check_characters(size)
        return tracing.join_texts(kept)


class TracingFormatter(SandboxedFormatter):
    """`str.format` in the sandbox, with traces."""

    def vformat(self, format_string: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the text with its fields filled in."""
        pieces: list[str] = []
        number = 0
        for literal, name, spec, conversion in self.parse(format_string):
            pieces.append(literal)
            if name is None:
                continue
            if not name or name[0] in ".[":
                name, number = f"{number}{name}", number + 1
            value, _ = self.get_field(name, args, kwargs)
            if conversion == "r":
                value = tracing.representation(value)
            elif conversion:
                value = tracing.whole(self.convert_field(value, conversion), value)
            spec = self.vformat(spec, args, kwargs) if spec and "{" in spec else spec or ""
            pieces.append(tracing.shaped(value, self.format_field(value, spec)))
        return tracing.join_texts(pieces)


def _traced(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter whose texts count as the input's as a whole, if any was given to it."""

    @wraps(make)
    def traced(*args: Any, **kwargs: Any) -> Any:
        value = make(*args, **kwargs)
        return tracing.whole(value, args, kwargs) if isinstance(value, str) else value

    return traced


def _join_traced(value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    """Return the items as one text, as `join` does."""
    if attribute is not None:
        value = map(filters.make_attrgetter(tracing_environment(), attribute), value)
    items = list(value)
    limits.check_join(str(d), items)
    return tracing.untraced(tracing.shown(d)).join(map(tracing.shown, items))


def _tojson_traced(value: Any, *args: Any, sort_keys: bool = False, **kwargs: Any) -> str:
    """Return JSON, as `tojson` does."""
    return tracing.json_text(
        value, lambda value: tojson(value, *args, **kwargs), sort_keys=sort_keys
    )


def _indent_traced(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Return the text with each line indented, as `indent` does."""
    each = width if isinstance(width, str) else " " * width
    limits.check_characters(len(each) * (s.count("\n") + 1))
    lines = (s + "\n").splitlines()
    text = lines.pop(0)
    for line in lines:
        text = text + "\n" + (each + line if line or blank else line)
    return each + text if first else text


def _replace_traced(s: Any, old: Any, new: Any, count: int | None = None) -> str:
    """Return the text with `new` in place of `old`, as `replace` does."""
    text, old, new = map(tracing.shown, (s, old, new))
    limits.check_replacement(text, old, new)
    text = text if isinstance(text, tracing.Traced) else tracing.untraced(text)
    return text.replace(old, new, -1 if count is None else count)


def _format_traced(value: str, *args: Any, **kwargs: Any) -> str:
    """Return the printf-style format `value` with the values filled in, as `format` does."""
    limits.check_format(value, [*args, *kwargs.values()])
    return tracing.percent(value, kwargs or args)


def _safe(value: Any) -> str:
    """Return a text that is not escaped for HTML, as `safe` does."""
    return tracing.safe(tracing.shown(value))


def _escape(value: Any) -> str:
    """Return the text escaped for HTML, as `escape` does."""
    return tracing.safe(tracing.escaped(value))


# Filters that hand on what they are given, or work with methods of str alone.
_HANDING_ON = (
    *("trim", "lower", "upper", "reverse", "first", "last", "list", "default", "d", "items"),
    *("attr", "map", "select", "reject", "selectattr", "rejectattr", "sort", "unique", "groupby"),
    *("batch", "slice", "dictsort", "random", "min", "max"),
)


@lru_cache(maxsize=1)
def tracing_environment() -> TracingEnvironment:
    """Return the environment in which texts keep their traces."""
    made = TracingEnvironment(**OPTIONS)
    configured(made)
    others = made.filters.keys() - {*_HANDING_ON}
    made.filters |= {name: _traced(made.filters[name]) for name in others}
    made.filters |= {"string": tracing.shown, "tojson": _tojson_traced, "indent": _indent_traced}
    made.filters |= {"join": _join_traced, "format": _format_traced, "replace": _replace_traced}
    made.filters |= {"safe": _safe, "escape": _escape, "e": _escape}
    return made
