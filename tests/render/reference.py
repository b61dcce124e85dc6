"""Markdown as rows of text by markdown-it alone, to hold our own reading of blocks against.

It reads the whole text at once and knows no width. Blank rows are left out, and so is what the
program reads in its own way on purpose: see `Document`.
"""

from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

BULLETS = "•◦▪"


def rows(text: str) -> list[str]:
    """The rows that are not blank."""
    tree = SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(text))
    return [row.rstrip() for row in _children(tree, 0) if row.strip()]


def _children(node: SyntaxTreeNode, depth: int) -> Iterator[str]:
    for child in node.children:
        yield from _block(child, depth)


def _block(node: SyntaxTreeNode, depth: int) -> Iterator[str]:
    if node.type == "blockquote":
        # A quote without any text has nothing to stand beside.
        yield from (f"│ {row}" for row in _children(node, depth) if row.strip())
    elif node.type in ("bullet_list", "ordered_list"):
        yield from _list(node, depth)
    elif node.type in ("paragraph", "heading"):
        yield from _inline(node)
    elif node.type == "fence":
        yield node.markup + node.info.strip()
        yield from node.content.split("\n")
        yield node.markup
    elif node.type == "hr":
        yield "─"
    elif node.type == "code_block":
        yield from (f"    {line}" for line in node.content.split("\n"))
    elif node.type == "html_block":
        yield from node.content.split("\n")
    else:
        raise AssertionError(node.type)


def _list(node: SyntaxTreeNode, depth: int) -> Iterator[str]:
    ordered = node.type == "ordered_list"
    number = int(node.attrs.get("start", 1))
    for item in node.children:
        sign = f"{number}{item.markup} " if ordered else f"{BULLETS[depth % 3]} "
        inner = [row for row in _children(item, depth + (not ordered)) if row.strip()] or [""]
        yield sign + inner[0]
        yield from (" " * len(sign) + row for row in inner[1:])
        number += 1


def _inline(node: SyntaxTreeNode) -> Iterator[str]:
    lines = _text(node.children[0]).split("\n") if node.children else []
    yield from (line.strip() for line in lines)


def _text(inline: SyntaxTreeNode) -> str:
    """The source of a paragraph; of code in it, which may go over lines, what it shows."""
    if not any(child.type == "code_inline" for child in inline.children):
        return inline.content
    return "".join("\n" if "break" in child.type else child.content for child in inline.children)
