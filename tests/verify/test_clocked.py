"""Work in a child with a clock: it ends in time, from any thread, and fails alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.program import eventually
from tulu_cli.errors import BadInput, TuluError
from tulu_cli.parallel import in_order
from tulu_cli.verify import clocked, compare
from tulu_cli.verify.clocked import Clocked, TookTooLong
from tulu_cli.verify.math import verify

# The child's own integers: a power of a billion digits, in the middle of which nothing else ends.
ENDLESS = ("9^{9^{9^{9}}}", "3")


def test_a_comparison_ends_by_its_clock_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clocked, "COMPUTING_SECONDS", 0.5)
    child = Clocked("same-expression")
    with pytest.raises(TookTooLong):
        child.ask(*ENDLESS)
    assert child.ask("x+x", "2x") is True
    child.end()


def test_a_slow_comparison_is_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    clocked.end_children()
    monkeypatch.setattr(clocked, "COMPUTING_SECONDS", 0.5)
    compare.same_expression.cache_clear()
    found = verify(rf"\boxed{{{ENDLESS[0]}}}", ENDLESS[1])
    assert (found.verified, found.why.endswith("; to compare them took too long")) == (False, True)
    clocked.end_children()


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("2", "02", True),
        ("-2", "2", False),
        (r"\frac{1}{3}", r"\frac{2}{6}", True),
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"\sin^2 x+\cos^2 x", "1", True),
        ("x", "y", False),
        ("(1,2)", "(1,2)", False),  # a tuple has no difference
        (r"\frac", "1", False),
        ("", "1", False),
        ("(" * 3000, "1", False),
    ],
)
def test_expressions(one: str, other: str, expected: bool) -> None:
    assert compare.same_expression(one, other) is expected


def test_threads_take_turns() -> None:
    pairs = [(rf"\frac{{{number}}}{{7}}+x", rf"x+\frac{{{number}}}{{7}}") for number in range(1, 9)]
    pairs += [(one, one + "+1") for one, _ in pairs]
    child = clocked.clocked("same-expression")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: child.ask(*pair), pairs))
    assert found == [True] * 8 + [False] * 8


def test_a_child_that_is_killed_fails_one_answer() -> None:
    child = Clocked("regex", "a")
    assert child.ask("a") == "a"
    assert child._child is not None
    os.kill(child._child.pid, signal.SIGKILL)
    with pytest.raises(BadInput, match="died of it"):
        child.ask("a")
    assert child.ask("ba") == "a"
    child.end()


def test_memory_is_limited() -> None:
    child = Clocked("regex", "a")
    assert child.ask("a") == "a"
    assert child._child is not None
    limits = Path(f"/proc/{child._child.pid}/limits").read_text()
    assert f"Max address space         {4 * 2**30}" in limits
    child.end()


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sympy", "math_verify"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError(name={name!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    needs = {
        "same-expression": "sympy: pip install .tulu_cli.verify..",
        "math-verify": "math-verify",
    }
    for task, sentence in needs.items():
        child = Clocked(task)
        with pytest.raises(TuluError, match=sentence) as raised:
            child.ask("1", "2")
        child.end()
        assert not isinstance(raised.value, BadInput)


def test_a_child_goes_with_its_parent(tmp_path: Path) -> None:
    script = "import os, signal\nfrom tulu_cli.verify.clocked import clocked\n"
    script += "child = clocked('regex', 'a')\nchild.ask('a')\nprint(child._child.pid, flush=True)\n"
    script += "os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    pid = int(done.stdout)
    assert eventually(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def asking() -> Callable[[int], tuple[int, bool]]:
    """Work that has an answer of the child of its own process."""
    child = clocked.clocked("regex", "a+")

    def work(number: int) -> tuple[int, bool]:
        found = child.ask("b" + "a" * number)
        assert child._child is not None
        return child._child.pid, found == "a" * number

    return work


def test_a_forked_process_has_a_child_of_its_own() -> None:
    here, _ = asking()(1)
    there = list(in_order(asking, range(1, 40), 2))
    assert all(is_right for _, is_right in there)
    assert here not in {pid for pid, _ in there}
    assert asking()(2) == (here, True)
    clocked.end_children()
