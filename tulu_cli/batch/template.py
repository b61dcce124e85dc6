"""A user's text made of the columns of a row: "Classify: {title}"."""

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from tulu_cli.errors import BadInput, UsageError


@dataclass(frozen=True, slots=True)
class Template:
    """Pieces of text, each with the column that follows it, or None at the end."""

    pieces: tuple[tuple[str, str | None], ...]

    def fill(self, columns: Mapping[str, Any], source: str) -> str:
        """The text for a row; raises BadInput for a column that the row has not as a text."""
        return "".join(
            text + ("" if column is None else _cell(columns, column, source))
            for text, column in self.pieces
        )


def read_template(text: str) -> Template:
    """Columns are named in braces, doubled braces are braces. Raises UsageError.

    Unlike Python's formatting it reaches into nothing: {a.b} is the column of that name.
    """
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise UsageError(f"--template: {error}; write {{{{ for a brace.") from error
    for _, column, form, conversion in parsed:
        if column == "" or form or conversion:
            raise UsageError("--template takes names of columns in braces, such as {title}.")
    if not any(column for _, column, _, _ in parsed):
        raise UsageError("--template names no column: write one in braces, such as {title}.")
    return Template(tuple((text, column) for text, column, _, _ in parsed))


def _cell(columns: Mapping[str, Any], column: str, source: str) -> str:
    value = columns.get(column)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        has = "has no column" if value is None else "has no text in the column"
        raise BadInput(f"{source} {has} {column!r}, which --template names.")
    return str(value)
