"""The directory of sockets, which nobody else can look into."""

import os
from pathlib import Path

import pytest

from tulu_cli.disk import runtime_path
from tulu_cli.errors import TuluError
from tulu_cli.warm.finder import LONGEST_SOCKET, runtime_directory


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TULU_RUNTIME_DIR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_user_chooses_then_the_system_then_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runtime_path() == Path(f"/tmp/tulu-{os.getuid()}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    assert runtime_path() == Path(f"/tmp/tulu-{os.getuid()}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_path() == tmp_path / "tulu"
    monkeypatch.setenv("TULU_RUNTIME_DIR", "relative")
    assert runtime_path() == Path.cwd() / "relative"


def test_it_is_made_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.warm.finder.LONGEST_SOCKET", 4096)
    monkeypatch.setenv("TULU_RUNTIME_DIR", str(tmp_path / "a" / "b"))
    umask = os.umask(0)
    try:
        made = runtime_directory()
    finally:
        os.umask(umask)
    assert made.stat().st_mode & 0o777 == 0o700


def refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("tulu_cli.warm.finder.LONGEST_SOCKET", 4096)
    monkeypatch.setenv("TULU_RUNTIME_DIR", str(path))
    with pytest.raises(TuluError) as caught:
        runtime_directory()
    return str(caught.value)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_can_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    tmp_path.chmod(mode)
    assert "is open to other users: chmod 700 it" in refused(tmp_path, monkeypatch)


def test_a_link_and_a_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert "is not a directory of yours" in refused(tmp_path / "link", monkeypatch)
    (tmp_path / "file").touch()
    assert "cannot be made (File exists)" in refused(tmp_path / "file", monkeypatch)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_someone_elses_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 12345, 12345)
    assert "is not a directory of yours" in refused(tmp_path, monkeypatch)


def test_the_longest_directory_has_room_for_every_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = LONGEST_SOCKET - len("/abcdef01/") - 36
    monkeypatch.setenv("TULU_RUNTIME_DIR", str(tmp_path / ("ü" * (room // 2))))
    with pytest.raises(TuluError, match=f"at most {room} bytes"):
        runtime_directory()
    assert list(tmp_path.iterdir()) == []
