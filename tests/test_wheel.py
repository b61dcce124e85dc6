"""The wheel: what is in it, that two builds are the same, and that what it installs works."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tulu_cli
from tests.program import environment

ROOT = Path(__file__).parent.parent
SOURCES = ("tulu_cli", "completions", "man", "tools", "tests", "pyproject.toml", ".gitignore")
TEXTS = ("README.md", "CHANGELOG.md", "LICENSE")
NOT_OURS = shutil.ignore_patterns("__pycache__", ".*_cache")
NAME = f"tulu_cli-{tulu_cli.__version__}"
INFORMATION = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def build(folder: Path, target: str) -> Path:
    """Build a wheel or an sdist of the project in the folder, with the date of neither."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", "built"]
    env = environment({"SOURCE_DATE_EPOCH": "1700000000"})
    subprocess.run(command, cwd=folder, env=env, capture_output=True, check=True)
    return next((folder / "built").glob("*.whl" if target == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clean clone has."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (*SOURCES, *TEXTS):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=NOT_OURS)
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="session")
def wheel(checkout: Path) -> Path:
    return build(checkout, "wheel")


def files_below(folder: Path) -> set[str]:
    """The paths of a folder's files, from the folder's parent."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder.parent)) for path in found}


def test_the_package_its_data_the_completions_the_pages_and_nothing_else(
    wheel: Path, checkout: Path
) -> None:
    shared = f"{NAME}.data/data/share"
    expected = {
        *files_below(checkout / "tulu_cli"),
        *(f"{NAME}.dist-info/{name}" for name in INFORMATION),
        *(f"{shared}/man/man1/{page.name}" for page in (checkout / "man").iterdir()),
        f"{shared}/bash-completion/completions/tulu",
        f"{shared}/zsh/site-functions/_tulu",
        f"{shared}/fish/vendor_completions.d/tulu.fish",
    }
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == expected
        worker = archive.getinfo("tulu_cli/engines/worker.sh")
        assert worker.external_attr >> 16 & 0o111, "multiprocessing has to be able to start it"
    assert "tulu_cli/py.typed" in expected


def test_another_build_from_the_sdist_is_the_same(
    wheel: Path, checkout: Path, tmp_path: Path
) -> None:
    sdist = build(checkout, "sdist")
    subprocess.run(["tar", "-xf", sdist, "-C", tmp_path], check=True)
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    assert build(tmp_path / NAME, "wheel").read_bytes() == wheel.read_bytes()
    assert build(tmp_path / NAME, "sdist").read_bytes() == sdist.read_bytes()


def test_what_a_package_index_asks_of_the_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = email.message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "Apache-2.0"
    needed = map(Requirement, metadata.get_all("Requires-Dist", []))
    named = [one.name for one in needed if one.marker is None]
    assert len(named) == len(set(named)), "a package is asked for twice"


def test_what_is_installed_works(wheel: Path, tmp_path: Path) -> None:
    # An environment of its own: with --prefix pip would take ours out of the one that runs this.
    venv.create(tmp_path, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(tmp_path / "bin" / "python"), "install"]
    options = ["--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *options], env=environment(), capture_output=True, check=True)
    package = next(tmp_path.glob("lib/*/site-packages"))
    (package / "what_we_need.pth").write_text(sysconfig.get_path("purelib"))
    assert (tmp_path / "share/man/man1/tulu-complete.1").is_file()
    assert (tmp_path / "share/zsh/site-functions/_tulu").is_file()
    for arguments, expected in (
        (["--help"], b"Usage: tulu "),
        (["completions", "show", "fish"], b"# Completion of tulu in fish"),
    ):
        command = [str(tmp_path / "bin" / "tulu"), *arguments]
        env = environment({"PYTHONPATH": ""})
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout.startswith(expected)
