"""A conversation's tree as lines: the way to the head goes straight down, branches hang off it.

  1 user       Why is the sky blue?
  ├─ 2 assistant  Because it is. [interrupted]
  3 assistant  Sunlight is scattered by the air.
* 4 user       And at night?
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tulu_cli.chat.session import Node, Session
from tulu_cli.text import clip, one_line


@dataclass(frozen=True, slots=True)
class TreeLine:
    """Hold a node as it is drawn: the lines that lead to it, and the number that a user types."""

    lead: str
    number: int
    node: Node
    is_head: bool
    is_on_path: bool


def rows(session: Session) -> Iterator[TreeLine]:
    """Yield the nodes from top to bottom, each with the lines that lead to it."""
    numbers = {node_id: number for number, node_id in enumerate(session.nodes, 1)}
    path = {node.id for node in session.path()}
    below: dict[str | None, list[Node]] = {}
    for node in session.nodes.values():
        below.setdefault(node.parent, []).append(node)
    todo = _branches(below.get(None, []), path, "", is_root=True)
    while todo:
        lead, trunk, node = todo.pop()
        yield TreeLine(lead, numbers[node.id], node, node.id == session.head, node.id in path)
        todo += _branches(below.get(node.id, []), path, trunk)


def draw(session: Session, width: int) -> list[str]:
    """Return the lines of a tree for a terminal of `width` columns, with a star before the head."""
    return [clip(_line(row, width), width) for row in rows(session)]


def marks(node: Node) -> str:
    """Return marks for how an answer began and ended: `[continued] [length]`."""
    is_continued = node.record is not None and node.record.start > 0
    ending = node.finish_reason if node.finish_reason not in (None, "stop") else ""
    return " ".join(f"[{mark}]" for mark in ("continued" if is_continued else "", ending) if mark)


def _branches(
    nodes: list[Node], path: set[str], trunk: str, *, is_root: bool = False
) -> list[tuple[str, str, Node]]:
    """Return what to draw next, last first: a node's lead, the lead below it, the node.

    The branch with the head, or else the newest one, is the trunk and comes after the others.
    """
    ordered = sorted(nodes, key=lambda node: (node.id in path, node is nodes[-1]))
    branches = [(f"{trunk}├─ ", f"{trunk}│  ", node) for node in ordered[:-1]]
    if is_root and branches:
        branches[0] = ("┌─ ", *branches[0][1:])
    return [*branches, *((trunk, trunk, node) for node in ordered[-1:])][::-1]


def _line(row: TreeLine, width: int) -> str:
    star = "*" if row.is_head else " "
    begin = f"{star} {row.lead}{row.number} {one_line(row.node.role):<10} "
    mark = marks(row.node)
    text = one_line(row.node.content[: 4 * width])
    room = max(8, width - len(begin) - len(mark) - 1)
    return f"{begin}{clip(text, room)} {mark}".rstrip()
