"""Programs that a model wrote: which pass, what ends the others, and what they cannot do."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.rows import ADD, PLUS
from tests.program import eventually
from tulu_cli.errors import TuluError
from tulu_cli.evaluation.sandbox import Ran, protection, run
from tulu_cli.evaluation.tasks import TASKS
from tulu_cli.evaluation.tasks.humaneval import program

RIGHT = "    return a + b\n"
PROGRAMS = [
    (RIGHT, None),
    ("    return b + a", None),
    ("    c = a\n    return c + b\n\ndef other():\n    pass", None),
    ("    import math\n    return math.floor(a + b)", None),
    ("    from typing import List\n    return sum([a, b])", None),
    ("    '''Again.'''\n    return a + b", None),
    ("    print('noise')\n    return a + b", None),
    ("    import sys\n    sys.stderr.write('noise')\n    return a + b", None),
    ("    return 3", None),
    ("    return 3.0", None),
    ("    return a - b", "AssertionError: "),
    ("    pass", "AssertionError: "),
    ("    return '3'", "AssertionError: "),
    ("", "AssertionError: "),  # the docstring is its body
    ("    return a +", "SyntaxError"),
    ("return a + b", "SyntaxError"),
    ("  return a + b", "IndentationError"),
    ("    return c", "NameError"),
    ("    return a + b + None", "TypeError"),
    ("    import numpy\n    return a + b", "ModuleNotFoundError"),
    ("    return add(a, b)", "RecursionError"),
    ("    raise SystemExit", "SystemExit"),  # not to fail is not to pass
    ("    exit(0)", "NameError"),
    ("    import os\n    os._exit(0)", "exit 0"),
    ("    import os\n    os.kill(os.getpid(), 9)", "signal 9"),
    ("    return input()", "SystemExit"),
    ("    return len(bytearray(2**33))", "MemoryError"),
]


@pytest.mark.parametrize(("text", "why"), PROGRAMS)
def test_humaneval(text: str, why: str | None) -> None:
    ran = run(program(text, ADD))
    assert ran.passed == (why is None)
    assert (ran.why or "").startswith(why or "")


def test_only_the_tests_of_humaneval_plus_see_the_library_that_they_need() -> None:
    right, wrong = (program(text, PLUS) for text in (RIGHT, "    return a - b"))
    assert (run(right).why or "").startswith("ModuleNotFoundError")
    assert run(right, packages=TASKS["humaneval+"].packages) == Ran(passed=True)
    assert (run(wrong, packages=("numpy",)).why or "").startswith("AssertionError")
    with pytest.raises(TuluError, match="need no_such_library: pip install"):
        run(right, packages=("no_such_library",))


@pytest.mark.parametrize(
    "text",
    [
        "while True: pass",
        "try:\n    while True: pass\nexcept BaseException: pass",
        "import time\ntime.sleep(60)",
    ],
)
def test_a_program_that_does_not_end_is_ended(text: str) -> None:
    assert run(text, seconds=0.3) == Ran(passed=False, why="timed out")


def test_what_a_program_starts_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    started = f"import subprocess\nc = subprocess.Popen([{sys.executable!r}, '-c', 'import time; "
    started += f"time.sleep(60)'])\nopen({str(mark)!r}, 'w').write(str(c.pid))"
    assert run(started).passed
    assert eventually(lambda: not is_running(int(mark.read_text())))


def is_running(process: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")


def test_a_program_sees_nothing_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    lines = "import os, sys\nassert 'SECRET' not in os.environ\nassert os.listdir('.') == []\n"
    assert run(lines + "assert 'tulu_cli' not in sys.modules") == Ran(passed=True)


def test_a_file_may_not_grow_without_end() -> None:
    ran = run(
        "import signal\nsignal.signal(25, signal.SIG_IGN)\nopen('x', 'wb').write(bytes(2**25))"
    )
    assert (ran.why or "").startswith("OSError")


def test_what_protects_is_told_as_it_is() -> None:
    told = protection()
    assert told.startswith("in child processes with 3 s")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reached = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)").passed
    assert reached == ("keep the network" in told)
    assert reached != ("without a network" in told)
