"""The Jinja environment of transformers, rebuilt: the same source gives the same text.

Compiled templates check the bounds of `limits` as they run. Import this module inside the call that
renders: it loads jinja2.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache, wraps
from itertools import islice
from typing import Any, NoReturn

from jinja2 import Template, filters, nodes, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import generate_lorem_ipsum

from tulu_cli.prompt import limits

# A variable that no template can name: the two characters to put around generation blocks.
MARKS = "tulu generation marks"
_DICT_ATTRIBUTES = frozenset(dir(dict))
_LOOP_ATTRIBUTES = frozenset(name for name in dir(LoopContext) if not name.startswith("_"))


class Generation(Extension):
    """`{% generation %}...{% endgeneration %}` marks what the model wrote: rendered as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.CallBlock:
        """Parse the block. A call block, as in transformers, keeps its variables inside it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("render", [nodes.ContextReference()])
        return nodes.CallBlock(call, [], [], body, lineno=line)

    def render(self, context: Context, caller: Callable[[], str]) -> str:
        """Return the block's own text, between marks if the caller of the template gave some."""
        start, end = context.get(MARKS) or ("", "")
        return start + caller() + end


class Generator(CodeGenerator):
    """Write code that checks its time at each iteration, and its sums and filters for length."""

    def blockvisit(self, body: Iterable[nodes.Node], frame: Frame) -> None:
        """Write a block; the body of a loop begins with a look at the time."""
        if frame.loop_frame and not frame.soft_frame:
            self.writeline("environment.tick()")
        super().blockvisit(body, frame)

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802
        """Write a loop; what its `if` leaves out is an iteration too."""
        if node.test is not None:
            tick = nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None)
            node.test = nodes.And(tick, node.test)
        super().visit_For(node, frame)

    _shown: nodes.Node | None = None

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self._shown = node
        super()._output_child_pre(node, frame, finalize)

    def visit_Add(self, node: nodes.BinExpr, frame: Frame) -> None:  # noqa: N802
        """Write a sum, which is checked, unless it is put out at once and so checked there."""
        if node is self._shown:
            self._shown = node.left
            super().visit_Add(node, frame)
            return
        self.write("environment.checked(")
        super().visit_Add(node, frame)
        self.write(")")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:  # noqa: N802
        """Write an attribute; that of a loop (`loop.last`) is nothing for the sandbox to forbid."""
        if not (isinstance(node.node, nodes.Name) and node.attr in _LOOP_ATTRIBUTES):
            super().visit_Getattr(node, frame)
            return
        self.write("(")
        self.visit(node.node, frame)
        self.write(f".{node.attr} if ")
        self.visit(node.node, frame)
        self.write(".__class__ is LoopContext else ")
        super().visit_Getattr(node, frame)
        self.write(")")

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        """Write a concatenation by `~`, which is checked."""
        self.write("environment.checked(")
        super().visit_Concat(node, frame)
        self.write(")")

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:  # noqa: N802
        """Write a filtered value, which is checked."""
        self.write("environment.checked(")
        super().visit_Filter(node, frame)
        self.write(")")


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with bounds on what can run or grow without the interpreter noticing."""

    code_generator_class = Generator
    intercepted_binops = frozenset(("*", "**", "%"))
    tick = staticmethod(limits.tick)
    checked = staticmethod(limits.checked)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right`, unless the result would be beyond the bounds."""
        _CHECKS[operator](left, right)
        return limits.checked(super().call_binop(context, operator, left, right))

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a macro, a global or a method, within the time and the length that are allowed."""
        limits.tick()
        method = getattr(function, "__wrapped__", function)  # the sandbox wraps str.format
        text = getattr(method, "__self__", None)
        if isinstance(text, str):
            args = limits.check_method(method.__name__, text, args)
            if method is not function:
                limits.check_format(text, [*args, *kwargs.values()], "{")
        return limits.checked(super().call(context, function, *args, **kwargs))

    def call_filter(self, *args: Any, **kwargs: Any) -> Any:
        """Call a filter for an item, as `map` does."""
        limits.tick()
        return limits.checked(super().call_filter(*args, **kwargs))

    def call_test(self, *args: Any, **kwargs: Any) -> Any:
        """Call a test for an item, as `select` does."""
        limits.tick()
        return super().call_test(*args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute or else an item; quickly where the sandbox has nothing to forbid."""
        if type(obj) is dict and attribute not in _DICT_ATTRIBUTES and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Return the output of a template, a block or a macro as one text."""
        kept: list[str] = []
        size = 0
        for piece in pieces:
            size += len(piece)
            kept.append(piece)
            if size > limits.MOST_CHARACTERS:
                limits.check_characters(size)
        return "".join(kept)


_CHECKS: dict[str, Callable[[Any, Any], None]] = {
    "*": limits.check_product,
    "**": limits.check_power,
    "%": limits.check_format,
}


def raise_exception(message: str) -> NoReturn:
    """Refuse a conversation, as a template does by calling this."""
    raise TemplateError(message)


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON without Jinja's escaping of HTML."""
    if isinstance(indent, int):
        limits.check_characters(indent)
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return Environment.concat(encoder.iterencode(value)) if indent else encoder.encode(value)


def strftime_now(pattern: str) -> str:
    """Return the local time by `pattern`."""
    return datetime.now().strftime(pattern)


def lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:  # noqa: A002
    """Return `n` paragraphs of some words each, as Jinja does."""
    limits.check_characters(n * max)
    return generate_lorem_ipsum(n, html, min, max)


def center(value: str, width: int = 80) -> str:
    """Return the text in the middle of `width` characters."""
    limits.check_characters(width)
    return filters.do_center(value, width)


def indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """Return the text with each line indented."""
    each = width if isinstance(width, int) else len(width)
    limits.check_characters(each * (s.count("\n") + 1))
    return filters.do_indent(s, width, first, blank)


def format_(value: str, *args: Any, **kwargs: Any) -> str:
    """Return the printf-style format `value` with the values filled in."""
    limits.check_format(value, [*args, *kwargs.values()])
    return filters.do_format(value, *args, **kwargs)


@pass_eval_context
def replace(eval_ctx: EvalContext, s: str, old: str, new: str, count: int | None = None) -> str:
    """Return the text with `new` in place of `old`."""
    limits.check_replacement(str(s), str(old), str(new))
    return filters.do_replace(eval_ctx, s, old, new, count)


@pass_eval_context
def join(
    eval_ctx: EvalContext, value: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> str:
    """Return the items, or one attribute of each, as one text with `d` between them."""
    if attribute is not None:
        value = map(filters.make_attrgetter(eval_ctx.environment, attribute), value)
    items = list(value)
    limits.check_join(str(d), items)
    return filters.sync_do_join(eval_ctx, items, d)


# What takes long for a long text or list, with nothing to interrupt it.
_SLOW = (
    *("batch", "dictsort", "groupby", "max", "min", "pprint", "slice", "sort", "striptags", "sum"),
    *("title", "unique", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"),
)


def configured(made: Environment) -> Environment:
    """Return the environment with the filters and functions that chat templates know."""
    made.filters |= {"tojson": tojson, "center": center, "indent": indent, "format": format_}
    made.filters |= {"replace": replace, "join": join}
    made.filters |= {name: bounded(name, made.filters[name]) for name in _SLOW}
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = strftime_now
    made.globals["lipsum"] = lipsum
    return made


OPTIONS: dict[str, Any] = {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "extensions": [Generation, loopcontrols],
}


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the one environment of this process."""
    return configured(Environment(**OPTIONS))


def bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a filter that takes no long text and no long list."""
    place = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        limits.check_for_slow_filter(name, args[place])
        return function(*args, **kwargs)

    return call


def compile_template(source: str, made: Environment) -> Template:
    """Return the compiled template. Raise jinja2's TemplateSyntaxError, and Exhausted."""
    check_length(source)
    with stack_bounded():
        template = made.from_string(source)
    template.globals = dict(template.globals)  # Jinja's chain of maps is slow to copy
    return template


def parse_template(source: str) -> nodes.Template | None:
    """Return the syntax tree, or None if there is none. Raise Exhausted if it is too large."""
    check_length(source)
    try:
        with stack_bounded():
            return environment().parse(source)
    except (TemplateError, ValueError):  # compiling it says why
        return None


def nodes_of(tree: nodes.Template) -> Iterator[nodes.Node]:
    """Yield every node under the root, in the order of the source, however deep they are nested."""
    pending = list(tree.iter_child_nodes())[::-1]
    while pending:
        node = pending.pop()
        yield node
        pending += list(node.iter_child_nodes())[::-1]


@contextmanager
def stack_bounded() -> Iterator[None]:
    """Raise Exhausted if the stack of Python, or that of its compiler, is too small for a tree."""
    try:
        yield
    except (RecursionError, MemoryError, SyntaxError) as error:
        raise limits.Exhausted("is nested too deeply") from error


def check_length(source: str) -> None:
    """Raise Exhausted if a source has too many lexemes: compiling them cannot be interrupted."""
    if len(source) > limits.MOST_LEXEMES:
        lexemes = environment().lex(source)
        with suppress(TemplateError):  # compiling it says so
            limits.check_lexemes(sum(1 for _ in islice(lexemes, limits.MOST_LEXEMES + 1)))


# What a template may do to a text without making another one of a part of it.
_WHOLE: tuple[type[nodes.Node], ...] = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Name, nodes.Operand),
    *(nodes.If, nodes.Compare, nodes.And, nodes.Or, nodes.Not, nodes.Test, nodes.CondExpr),
    *(nodes.Add, nodes.Concat),
)


def keeps_texts_whole(source: str) -> bool:
    """Return True if the template only looks at the texts that it is given, joins and shows them.

    It does if it takes messages one by one, and has nothing that makes a text of a part of another:
    everything but a few kinds of expression counts as that.
    """
    tree = parse_template(source)
    return tree is not None and all(map(_keeps_whole, nodes_of(tree)))


def loops_over_content(source: str) -> bool:
    """Return True if the template takes a content for a list of parts, as its loops show.

    A name counts as a content if it is called so, or is made of one, in whichever scope.
    """
    tree = parse_template(source)
    if tree is None:
        return False
    every = list(nodes_of(tree))
    names = {"content"}
    with stack_bounded():
        for _ in range(2):  # a name may be made of one that comes later in the source, in a macro
            names |= set(_made_of_content(every, names))
        return any(_loops_over(node, names) for node in every)


def _loops_over(node: nodes.Node, names: Collection[str]) -> bool:
    """Return True for a loop over a content, and for a value of one of its items."""
    if isinstance(node, nodes.For):
        return _is_content(node.iter, names)
    if not isinstance(node, nodes.Getattr | nodes.Getitem):
        return False
    item = node.node
    return (
        (isinstance(node, nodes.Getattr) or _is_const(node.arg, str))
        and isinstance(item, nodes.Getitem)
        and _is_const(item.arg, int)
        and _is_content(item.node, names)
    )


def _made_of_content(every: Collection[nodes.Node], names: Collection[str]) -> Iterator[str]:
    macros = {node.name: node for node in every if isinstance(node, nodes.Macro)}
    for made in every:
        if (
            isinstance(made, nodes.Assign)
            and isinstance(made.target, nodes.Name)
            and _is_content(made.node, names)
        ):
            yield made.target.name
    for call in every:
        if not isinstance(call, nodes.Call):
            continue
        macro = macros.get(call.node.name) if isinstance(call.node, nodes.Name) else None
        if macro is not None:
            given = zip(macro.args, call.args, strict=False)
            yield from (name.name for name, value in given if _is_content(value, names))
            yield from (one.key for one in call.kwargs if _is_content(one.value, names))


def _is_const(node: nodes.Node, kind: type) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, kind)


def _is_content(node: nodes.Node | None, names: Collection[str]) -> bool:
    """Return True for a content as it is, or a choice of its items."""
    if isinstance(node, nodes.Name):
        return node.name in names
    if isinstance(node, nodes.Getattr):
        return node.attr == "content"
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    if isinstance(node, nodes.Filter):
        return node.name not in ("length", "count", "join") and _is_content(node.node, names)
    if isinstance(node, nodes.CondExpr):
        return _is_content(node.expr1, names) or _is_content(node.expr2, names)
    return isinstance(node, nodes.Or) and _is_content(node.left, names)


def _keeps_whole(node: nodes.Node) -> bool:
    if isinstance(node, nodes.For):
        loops = isinstance(node.iter, nodes.Name) and node.iter.name == "messages"
        return loops and isinstance(node.target, nodes.Name) and node.target.name != "messages"
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)
    if isinstance(node, nodes.Filter):
        return node.name == "trim" and not (node.args or node.kwargs)
    return isinstance(node, (nodes.Getattr, *_WHOLE))
