"""Plain values of options are read without pydantic, and the others as Typer reads them."""

import subprocess
import sys
from typing import Annotated, Any

import pytest
import typer

from tulu_cli.cli.plain_values import plain_kind, read_plain

INFINITE = (float("-inf"), float("inf"))


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, (str, *INFINITE)),
        (bool, (bool, *INFINITE)),
        (int | None, (int, *INFINITE)),
        (list[str] | None, (str, *INFINITE)),
        (Annotated[int, typer.Option(min=1, max=5)], (int, 1, 5)),
        (Annotated[float | None, typer.Option(min=0)], (float, 0, float("inf"))),
        (Annotated[int, typer.Option(parser=int)], None),
        (int | str, None),
        (tuple[int, int], None),
        (dict, None),
    ],
)
def test_the_kind_of_an_option(annotation: Any, kind: Any) -> None:
    assert plain_kind(annotation) == kind


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("7", (int, 1, 9), 7),
        ("-1.5", (float, *INFINITE), -1.5),
        ("1e3", (float, *INFINITE), 1000.0),
        ("ü", (str, *INFINITE), "ü"),
        (4, (int, 1, 9), 4),
    ],
)
def test_a_plain_value(value: Any, kind: Any, expected: Any) -> None:
    assert read_plain(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("10", (int, 1, 9)),
        ("x", (int, *INFINITE)),
        ("1.5", (int, *INFINITE)),
        ("nan", (float, *INFINITE)),
        ("٣", (int, *INFINITE)),
        ("1_000", (int, *INFINITE)),
        (True, (bool, *INFINITE)),
        (["a"], (str, *INFINITE)),
    ],
)
def test_anything_else_goes_typers_own_way(value: Any, kind: Any) -> None:
    with pytest.raises(ValueError):
        read_plain(value, kind)


def test_a_command_with_options_loads_no_pydantic() -> None:
    source = (
        "import sys; from tulu_cli.cli.main import run; "
        "run(['plan', '8b', '--gpu', 'h100:2', '--concurrency', '4']); "
        "print('pydantic' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)
    assert done.stderr == b"False\n"
