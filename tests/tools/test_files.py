"""The list of files in CONTRIBUTING.md."""

from pathlib import Path

import pytest

from tools.files import BEGIN, END, with_files

TEXT = f"# How\n\n{BEGIN}what was here\n{END}\nThe end.\n"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_each_file_has_the_first_line_of_its_docstring(tmp_path: Path) -> None:
    write(tmp_path, "tulu_cli/main.py", '"""Where it begins.\n\nAnd more.\n"""\n')
    write(tmp_path, "tulu_cli/part/__init__.py", "")
    write(tmp_path, "tulu_cli/part/long_name.py", '"""A part."""\nX = 1\n')
    write(tmp_path, "tools/a.py", '"""A tool."""\n')
    assert with_files(TEXT, tmp_path) == (
        f"# How\n\n{BEGIN}\n"
        "    tulu_cli/\n"
        "      main.py  Where it begins.\n"
        "    tulu_cli/part/\n"
        "      long_name.py  A part.\n"
        "    tools/\n"
        "      a.py  A tool.\n"
        f"\n{END}\nThe end.\n"
    )


def test_a_file_without_a_docstring_is_named(tmp_path: Path) -> None:
    write(tmp_path, "tulu_cli/main.py", "X = 1\n")
    with pytest.raises(ValueError, match=r"main\.py has no docstring"):
        with_files(TEXT, tmp_path)


def test_lost_marks_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lost the marks"):
        with_files("# How\n", tmp_path)
