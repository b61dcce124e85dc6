"""Files of ours: locked, read and replaced, or left as they were."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import pipe
from tulu_cli.commands.completions.install import put
from tulu_cli.disk import (
    data_root,
    locked,
    locked_if_free,
    make_private,
    read_json,
    reading,
    replace_atomically,
    replacing,
    runtime_path,
    writing,
)
from tulu_cli.errors import BadInput, TuluError
from tulu_cli.models import notice
from tulu_cli.models.cache import build_once
from tulu_cli.settings.edit import change

HOLDER = """
import sys
from pathlib import Path
from tulu_cli.disk import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def modes(root: Path) -> dict[str, int]:
    """Return the permissions of each folder below `root`, and of each lock."""
    paths = (path for path in root.rglob("*") if path.is_dir() or path.name.startswith("."))
    return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.fixture
def open_umask() -> Iterator[None]:
    umask = os.umask(0)
    yield
    os.umask(umask)


@pytest.mark.usefixtures("open_umask")
def test_what_is_made_is_for_its_user_alone_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "new" / "cache"))
    monkeypatch.setenv("TULU_DATA_DIR", str(tmp_path / "kept" / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def build(staging: Path) -> Path:
        (staging / "model").mkdir()
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (staging / "model" / name).write_text("{}")
        return staging / "model"

    built = build_once("some-model", build, lambda *_: None)
    assert stat.S_IMODE(built.stat().st_mode) == 0o700
    change(tmp_path / "settings" / "tulu" / "config.toml", lambda _: "")
    make_private(data_root() / "chats")
    with locked(tmp_path / "elsewhere" / ".lock"):
        pass
    put(tmp_path / "new" / "cache", tmp_path / "shell" / "site" / "_tulu", as_link=True)
    notice.show(lambda _: None)
    found = modes(tmp_path)
    assert found.pop("elsewhere/.lock") == 0o600
    locks = {name: found.pop(name) for name in list(found) if name.endswith(".lock")}
    assert set(locks.values()) <= {0o600}
    assert found == dict.fromkeys(found, 0o700)
    assert {"new/cache/converted", "kept/data", "settings/tulu", "shell"} <= found.keys()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755, "it was there"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        make_private(tmp_path / "link")
    make_private(tmp_path)


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


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    path, link, pipe = (tmp_path / name for name in ("file", "link", "pipe"))
    link.symlink_to(path)
    replace_atomically(link, b"one")
    assert (link.is_symlink(), path.read_bytes()) == (True, b"one")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_atomically(pipe, b"two")
    assert (pipe.is_fifo(), os.read(reader, 9)) == (True, b"two")
    os.close(reader)
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "pipe"]


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
