"""Reading a template's syntax tree: which values have a content in them, and in which way."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto

from jinja2 import nodes


class Kind(Enum):
    """What a value is: free of content, a content as it is, a text with one in it, and so on."""

    FREE = auto()
    CONTENT = auto()
    TEXT = auto()
    MESSAGE = auto()
    MESSAGES = auto()


class Looked(Exception):
    """The template looks at a content, or does what this module does not understand."""


# What to do with each type of node.
Rules = Mapping[type, Callable[..., Kind]]


class Reader:
    """Reads a template's syntax tree; `names` are the kinds of its variables."""

    def __init__(self, statements: Rules, expressions: Rules) -> None:
        self._statements = statements
        self._expressions = expressions
        self.names: dict[str, Kind] = {"messages": Kind.MESSAGES}

    def statements(self, body: Iterable[nodes.Node]) -> None:
        """Read each statement in turn."""
        for node in body:
            self._read(self._statements, node)

    def kind(self, node: nodes.Node | None) -> Kind:
        """The kind of an expression; one that is absent is free."""
        return Kind.FREE if node is None else self._read(self._expressions, node)

    def free(self, *parts: nodes.Node | None) -> Kind:
        """Require that none of the parts has anything of a message."""
        if any(self.kind(part) is not Kind.FREE for part in parts):
            raise Looked
        return Kind.FREE

    def assign(self, name: str, kind: Kind) -> None:
        """Remember what a variable may be, on any way through the template."""
        self.names[name] = joined(self.names.get(name, kind), kind)

    def condition(self, node: nodes.Node) -> None:
        """Require that the truth of an expression says nothing of a content.

        A message is always true, and messages are by their number.
        """
        if self.kind(node) in (Kind.CONTENT, Kind.TEXT):
            raise Looked

    def _read(self, table: Rules, node: nodes.Node) -> Kind:
        read = table.get(type(node))
        if read is None:
            raise Looked
        return read(self, node)


def joined(one: Kind, other: Kind) -> Kind:
    """The kind of what may be either: texts can be mixed, nothing else can."""
    texts = {Kind.FREE, Kind.CONTENT, Kind.TEXT}
    if one is other:
        return one
    if not {one, other} <= texts:
        raise Looked
    return Kind.TEXT
