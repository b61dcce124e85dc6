"""The expressions of a template: a content may be joined with other texts, or stripped."""

from jinja2 import nodes

from tulu_cli.prompt.opaque.reader import Kind, Looked, Reader, Rules, joined

# Functions that do the same each time; not the clock's.
_STEADY = frozenset(("raise_exception", "range", "namespace"))
_STRUCTURAL_FILTERS = {"length": False, "count": False, "list": True}
_STRUCTURAL_TESTS = frozenset(
    (
        "defined",
        "undefined",
        "none",
        "string",
        "mapping",
        "iterable",
        "sequence",
        "number",
        "boolean",
        "true",
    )
)


def _name(reader: Reader, node: nodes.Name) -> Kind:
    """A loop, or a namespace that holds contents, may be asked for its parts and no more."""
    parts = (kind for name, kind in reader.names.items() if name.startswith(f"{node.name}."))
    if node.name == "loop" or any(kind is not Kind.FREE for kind in parts):
        raise Looked
    return reader.names.get(node.name, Kind.FREE)


def _attribute(reader: Reader, node: nodes.Getattr | nodes.Getitem) -> Kind:
    if isinstance(node, nodes.Getattr):
        return _member(reader, node.node, node.attr)
    if isinstance(node.arg, nodes.Const):
        return _member(reader, node.node, node.arg.value)
    owner = reader.kind(node.node)
    reader.free(node.arg)
    if owner is Kind.MESSAGES:
        return Kind.MESSAGES if isinstance(node.arg, nodes.Slice) else Kind.MESSAGE
    if owner is not Kind.FREE:
        raise Looked
    return Kind.FREE


def _member(reader: Reader, owner: nodes.Node, name: object) -> Kind:
    if isinstance(owner, nodes.Name) and owner.name == "loop":
        return Kind.MESSAGE if name in ("previtem", "nextitem") else Kind.FREE
    if isinstance(owner, nodes.Name) and reader.names.get(owner.name) in (None, Kind.FREE):
        return reader.names.get(f"{owner.name}.{name}", Kind.FREE)
    kind = reader.kind(owner)
    if kind is Kind.MESSAGES and isinstance(name, int):
        return Kind.MESSAGE
    if kind is Kind.MESSAGE and isinstance(name, str) and not hasattr(dict, name):
        return Kind.CONTENT if name == "content" else Kind.FREE
    if kind is not Kind.FREE:
        raise Looked
    return Kind.FREE


def _concatenation(reader: Reader, node: nodes.Add | nodes.Concat) -> Kind:
    parts = node.nodes if isinstance(node, nodes.Concat) else (node.left, node.right)
    kinds = {reader.kind(part) for part in parts}
    if kinds == {Kind.FREE}:
        return Kind.FREE
    if kinds & {Kind.MESSAGE, Kind.MESSAGES}:
        raise Looked
    return Kind.TEXT


def _choice(reader: Reader, node: nodes.CondExpr) -> Kind:
    reader.condition(node.test)
    return joined(reader.kind(node.expr1), reader.kind(node.expr2))


def _filter(reader: Reader, node: nodes.Filter) -> Kind:
    kind = reader.kind(node.node)
    reader.free(*node.args, *(pair.value for pair in node.kwargs), node.dyn_args, node.dyn_kwargs)
    if kind is Kind.FREE and node.name != "random":
        return Kind.FREE
    bare = not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
    if kind is Kind.CONTENT and node.name == "trim" and bare:
        return Kind.CONTENT
    if kind is Kind.MESSAGES and node.name in _STRUCTURAL_FILTERS:
        return Kind.MESSAGES if _STRUCTURAL_FILTERS[node.name] else Kind.FREE
    raise Looked


def _test(reader: Reader, node: nodes.Test) -> Kind:
    kind = reader.kind(node.node)
    if kind is not Kind.FREE and node.name not in _STRUCTURAL_TESTS:
        raise Looked
    return reader.free(*node.args)


def _call(reader: Reader, node: nodes.Call) -> Kind:
    values = (*node.args, *(pair.value for pair in node.kwargs), node.dyn_args, node.dyn_kwargs)
    if isinstance(node.node, nodes.Name) and node.node.name == "namespace":
        return reader.free(*values)  # the name of the namespace is not known here
    reader.free(*values)
    if isinstance(node.node, nodes.Name):
        if node.node.name not in _STEADY:
            raise Looked
        return Kind.FREE
    if not isinstance(node.node, nodes.Getattr):
        raise Looked
    kind = reader.kind(node.node.node)
    if kind is Kind.CONTENT and node.node.attr == "strip" and not any(values):
        return Kind.CONTENT
    if kind is not Kind.FREE:
        raise Looked
    return Kind.FREE


def _compare(reader: Reader, node: nodes.Compare) -> Kind:
    left = reader.kind(node.expr)
    for operand in node.ops:
        right = reader.kind(operand.expr)
        asks_for_key = operand.op in ("in", "notin") and right is Kind.MESSAGE
        if left is not Kind.FREE or (right is not Kind.FREE and not asks_for_key):
            raise Looked
    return Kind.FREE


def _logic(reader: Reader, node: nodes.And | nodes.Or) -> Kind:
    reader.condition(node.left)
    reader.condition(node.right)
    kinds = (reader.kind(node.left), reader.kind(node.right))
    return Kind.FREE if kinds == (Kind.FREE, Kind.FREE) else Kind.MESSAGES


def _not(reader: Reader, node: nodes.Not) -> Kind:
    reader.condition(node.node)
    return Kind.FREE


def _free_children(reader: Reader, node: nodes.Node) -> Kind:
    return reader.free(*node.iter_child_nodes())


def _nothing(_reader: Reader, _node: nodes.Node) -> Kind:
    return Kind.FREE


EXPRESSIONS: Rules = {
    nodes.Name: _name,
    nodes.Const: _nothing,
    nodes.TemplateData: _nothing,
    nodes.Getattr: _attribute,
    nodes.Getitem: _attribute,
    nodes.Add: _concatenation,
    nodes.Concat: _concatenation,
    nodes.CondExpr: _choice,
    nodes.Filter: _filter,
    nodes.Test: _test,
    nodes.Call: _call,
    nodes.Compare: _compare,
    nodes.And: _logic,
    nodes.Or: _logic,
    nodes.Not: _not,
    **dict.fromkeys(
        (
            nodes.Sub,
            nodes.Mul,
            nodes.Div,
            nodes.FloorDiv,
            nodes.Mod,
            nodes.Pow,
            nodes.Neg,
            nodes.Pos,
            nodes.List,
            nodes.Tuple,
            nodes.Dict,
            nodes.Pair,
            nodes.Slice,
        ),
        _free_children,
    ),
}
