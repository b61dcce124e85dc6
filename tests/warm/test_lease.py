"""Leases: shared by those who use an engine, alone for who unloads it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import pipe
from tulu_cli.warm import lease


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lease").touch()
    return tmp_path


def test_many_use_it_and_then_nobody_unloads_it(folder: Path) -> None:
    one, two = lease.take(folder), lease.take(folder)
    assert one
    assert two
    assert lease.in_use(folder)
    assert lease.take_alone(folder) is None
    one.close()
    assert lease.take_alone(folder) is None
    two.close()
    assert not lease.in_use(folder)
    alone = lease.take_alone(folder)
    assert alone
    assert lease.take(folder) is None, "nobody gets what is about to go"
    alone.close()
    alone.close()


def test_a_lease_that_is_forgotten_is_given_back(folder: Path) -> None:
    taken = lease.take(folder)
    assert lease.take_alone(folder) is None
    del taken
    assert lease.take_alone(folder)


def test_a_killed_user_holds_nothing(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tulu_cli.warm import lease;"
        "held = lease.take(Path(sys.argv[1])); print(bool(held), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **streams) as user:  # type: ignore[call-overload]
        assert pipe(user.stdout).readline() == b"True\n"
        assert lease.take_alone(folder) is None
        user.kill()
        user.wait()
        assert lease.take_alone(folder)


def test_an_engine_that_is_gone_has_no_lease(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lease").unlink()
    assert lease.take(folder) is None
    assert lease.last_used(folder) is None
    assert not lease.in_use(folder)


def test_use_is_remembered(folder: Path) -> None:
    import os

    os.utime(folder / "lease", (1, 1))
    assert lease.last_used(folder) == 1
    taken = lease.take(folder)
    assert taken
    begun = lease.last_used(folder)
    os.utime(folder / "lease", (1, 1))
    taken.close()
    ended = lease.last_used(folder)
    assert begun
    assert ended
    assert 1 < begun <= ended
