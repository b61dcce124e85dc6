"""Files of ours: locked, read and replaced, or left as they were."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import pipe
from tulu_cli.disk import (
    locked,
    locked_if_free,
    read_json,
    reading,
    replace_atomically,
    replacing,
    runtime_path,
    writing,
)
from tulu_cli.errors import BadInput, TuluError

HOLDER = """
import sys
from pathlib import Path
from tulu_cli.disk import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_is_replaced_and_its_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_atomically(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    replace_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_a_replacement_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_of_the_disk_is_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(BadInput) as read, reading(missing):
        missing.read_bytes()
    assert str(read.value) == f"'{missing}' cannot be read: No such file or directory."
    with pytest.raises(TuluError) as written, writing("The journal"):
        (missing / "file").write_bytes(b"")
    assert str(written.value) == "The journal cannot be written: No such file or directory."
    with pytest.raises(TuluError, match="cannot be read") as other, reading(missing, TuluError):
        missing.read_bytes()
    assert type(other.value) is TuluError


def test_what_is_no_json_object(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    assert read_json(path) == {}
    path.write_text("[1]")
    with pytest.raises(BadInput, match=r"file\.json holds a list, not a JSON object"):
        read_json(path)


@pytest.mark.parametrize("folder", [False, True])
def test_a_lock_is_of_one_process_and_free_when_it_is_killed(
    tmp_path: Path, *, folder: bool
) -> None:
    path = tmp_path / "lock"
    if folder:
        path.mkdir()
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, **streams) as holder:  # type: ignore[call-overload]
        assert pipe(holder.stdout).readline() == b"held\n"
        with locked_if_free(path) as free:
            assert not free
        with locked(path, holder.kill):  # the kernel frees the lock of a process that dies
            pass
    with locked_if_free(path) as free:
        assert free


def test_the_runtime_folder_is_the_one_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TULU_RUNTIME_DIR", "~/run")
    monkeypatch.setenv("HOME", "/somebody")
    assert runtime_path() == Path("/somebody/run")
