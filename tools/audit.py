"""Check the pinned requirements for known vulnerabilities: python -m tools.audit.

Run by a Python that has pip-audit. Its exit code is 0 also where it could look nothing up; here
that is a failure, and so is every pin that it knows nothing of.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_AUDIT = (sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json")


def requirements(folder: Path = ROOT / "requirements") -> list[str]:
    """The files of pins, as options."""
    return [word for path in sorted(folder.glob("*.txt")) for word in ("--requirement", str(path))]


def findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each vulnerability, and one for all packages of which nothing is known."""
    for package in packages:
        for found in package.get("vulns", ()):
            mended = ", ".join(found["fix_versions"]) or "no release"
            yield f"{package['name']} {package['version']}: {found['id']}, mended by {mended}"
    unknown = sorted(package["name"] for package in packages if "skip_reason" in package)
    if len(unknown) == len(packages):
        yield "None of the pins was checked: the vulnerability service does not know any of them."
    elif unknown:
        yield f"Not checked, as the vulnerability service does not know them: {', '.join(unknown)}."


def why(said: str) -> str:
    """Why pip-audit printed nothing, from what it said on stderr."""
    last = (said.strip().splitlines() or ["pip-audit says nothing"])[-1]
    unreachable = last.startswith("requests.exceptions.")
    return "the vulnerability service cannot be reached" if unreachable else last.rstrip(".")


def main() -> int:
    """Returns the exit code: 1 where something was found, or was not checked."""
    command = [*_AUDIT, "--progress-spinner", "off", *requirements()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print(f"The pins were not checked: {why(done.stderr)}.", file=sys.stderr)
        return 1
    lines = list(findings(packages))
    for line in lines:
        print(line, file=sys.stderr)
    if not lines:
        print(f"No vulnerability is known in the {len(packages)} pinned packages.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
