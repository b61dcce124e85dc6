"""The statements of a template: what they may do with a content is print it or keep it."""

from jinja2 import nodes

from tulu_cli.prompt.opaque.reader import Kind, Looked, Reader, Rules


def _output(reader: Reader, node: nodes.Output) -> Kind:
    for part in node.nodes:
        if reader.kind(part) in (Kind.MESSAGE, Kind.MESSAGES):
            raise Looked
    return Kind.FREE


def _if(reader: Reader, node: nodes.If) -> Kind:
    reader.condition(node.test)
    reader.statements(node.body)
    if not _is_content_a_string(reader, node.test):  # it always is one: no other branch is taken
        reader.statements((*node.elif_, *node.else_))
    return Kind.FREE


def _is_content_a_string(reader: Reader, test: nodes.Node) -> bool:
    if not isinstance(test, nodes.Test) or test.name != "string":
        return False
    # A variable might not be set on the way to here; the content of a message always is.
    member = test.node
    if not isinstance(member, nodes.Getattr | nodes.Getitem):
        return False
    return reader.kind(member) is Kind.CONTENT and reader.kind(member.node) is Kind.MESSAGE


def _for(reader: Reader, node: nodes.For) -> Kind:
    over = reader.kind(node.iter)
    if node.recursive or over not in (Kind.FREE, Kind.MESSAGES):
        raise Looked
    _set(reader, node.target, Kind.MESSAGE if over is Kind.MESSAGES else Kind.FREE)
    reader.free(node.test)
    reader.statements((*node.body, *node.else_))
    return Kind.FREE


def _assign(reader: Reader, node: nodes.Assign) -> Kind:
    _set(reader, node.target, reader.kind(node.node))
    return Kind.FREE


def _set(reader: Reader, target: nodes.Node, kind: Kind) -> None:
    if isinstance(target, nodes.NSRef):
        reader.assign(f"{target.name}.{target.attr}", kind)
    elif isinstance(target, nodes.Name) and target.name != "loop":
        if target.name == "messages" and kind is not Kind.MESSAGES:
            raise Looked
        reader.assign(target.name, kind)
    elif kind is Kind.FREE and isinstance(target, nodes.Tuple):
        for item in target.items:
            _set(reader, item, kind)
    else:
        raise Looked


def _generation(reader: Reader, node: nodes.CallBlock) -> Kind:
    method = node.call.node
    if not isinstance(method, nodes.ExtensionAttribute):
        raise Looked
    reader.statements(node.body)
    return Kind.FREE


def _nothing(_reader: Reader, _node: nodes.Node) -> Kind:
    return Kind.FREE


STATEMENTS: Rules = {
    nodes.Output: _output,
    nodes.If: _if,
    nodes.For: _for,
    nodes.Assign: _assign,
    nodes.CallBlock: _generation,
    nodes.Break: _nothing,
    nodes.Continue: _nothing,
}
