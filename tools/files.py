"""The list of files in CONTRIBUTING.md: each with the first line of its docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

BEGIN = "<!-- files: written by tools/gen_docs.py from the docstrings -->\n"
END = "<!-- end of files -->\n"
_PLACES = ("tulu_cli", "tools")


def with_files(contributing: str, root: Path) -> str:
    """The text of CONTRIBUTING.md with the list brought up to date. Raises ValueError without one.

    Raises ValueError also for a module without a docstring.
    """
    before, begin, rest = contributing.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("CONTRIBUTING.md has lost the marks between which its files are listed")
    return f"{before}{BEGIN}\n{''.join(_lines(root))}\n{END}{after}"


def _lines(root: Path) -> Iterator[str]:
    for place in _PLACES:
        folders = {path.parent for path in (root / place).rglob("*.py")}
        for folder in sorted(folders):
            told = {path.name: _first_line(path) for path in sorted(folder.glob("*.py"))}
            width = max((len(name) for name, line in told.items() if line), default=0)
            yield f"    {folder.relative_to(root)}/\n"
            for name, line in told.items():
                if line:
                    yield f"      {name:{width}}  {line}\n"


def _first_line(path: Path) -> str:
    """The first line of a module's docstring; nothing for a file without code."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    if docstring is None:
        if tree.body:
            raise ValueError(f"{path} has no docstring")
        return ""
    return docstring.partition("\n")[0]
