"""The releases that we name and the commands that we print are those of pyproject.toml."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tulu_cli.machine import SUPPORTED, install

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def test_the_supported_releases_are_those_that_are_installed() -> None:
    for extra, releases in SUPPORTED.items():
        (own,) = [one for one in map(Requirement, EXTRAS[extra]) if one.name == extra]
        assert own.specifier == SpecifierSet(releases)


@pytest.mark.parametrize(
    ("file", "operator", "minor"), [("transformers.txt", ">=", 0), ("newest.txt", "<", 1)]
)
def test_the_suite_runs_the_oldest_and_the_newest_of_them(
    file: str, operator: str, minor: int
) -> None:
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    (pinned,) = (line.partition("==")[2] for line in lines if line.startswith("transformers=="))
    bounds = SpecifierSet(SUPPORTED["transformers"])
    (bound,) = (one.version for one in bounds if one.operator == operator)
    assert pinned in bounds
    release = Version(pinned).release
    assert f"{release[0]}.{release[1] + minor}" == bound


def test_the_command_needs_no_index_that_knows_tulu() -> None:
    command = [sys.executable, "-m", "pip", "--isolated", "install", "--no-index", "--dry-run"]
    done = subprocess.run(
        [*command, *install("transformers").replace("'", "").split()[2:]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "Would install" in done.stdout) == (0, False), done.stderr
    assert "already satisfied: tulu_cli[transformers]" in done.stdout
