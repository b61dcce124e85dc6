"""Files of rows as JSON Lines, made of what somebody published."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
Files = Mapping[str, Iterable[Row]]  # the rows of each file, by its name


def line(row: Row) -> str:
    """Return the line of a row."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def write(folder: Path, files: Files) -> None:
    """Write the rows of each file into a folder."""
    for name, rows in files.items():
        with (folder / name).open("w", encoding="utf-8") as file:
            file.writelines(map(line, rows))
