"""The Jinja environment of transformers, rebuilt: the same source gives the same text.

Import this module inside the call that renders: it loads jinja2.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, ContextReference
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tulu_cli.prompt.limits import MARKS, check_characters, check_power, check_product


class Generation(Extension):
    """`{% generation %}...{% endgeneration %}` marks what the model wrote: rendered as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> CallBlock:
        """Parse the block. A call block, as in transformers, keeps its variables inside it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("render", [ContextReference()])
        return CallBlock(call, [], [], body, lineno=line)

    def render(self, context: Context, caller: Callable[[], str]) -> str:
        """The block's own text, between marks where the caller of the template gave some."""
        start, end = context.get(MARKS) or ("", "")
        return start + caller() + end


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with bounds on what can grow without the interpreter noticing."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply or raise to a power, unless the result would be beyond the bounds."""
        (check_power if operator == "**" else check_product)(left, right)
        return super().call_binop(context, operator, left, right)

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """The output of a template, a block or a macro in one text, unless it grows too long."""
        kept: list[str] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            check_characters(size)
            kept.append(piece)
        return "".join(kept)


def raise_exception(message: str) -> NoReturn:
    """What a template calls to refuse a conversation."""
    raise TemplateError(message)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without Jinja's escaping of HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def strftime_now(pattern: str) -> str:
    """The local time by `pattern`."""
    return datetime.now().strftime(pattern)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The one environment of this process."""
    made = Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = strftime_now
    return made


@lru_cache(maxsize=64)
def compile_template(source: str) -> Template:
    """The compiled template; raises jinja2's TemplateSyntaxError."""
    return environment().from_string(source)
