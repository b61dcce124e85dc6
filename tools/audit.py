"""Check the pinned requirements for known vulnerabilities: python -m tools.audit.

Run it with a Python that has pip-audit. pip-audit exits with 0 even if it could look nothing up;
here that is a failure, and so is every pin that it does not know.
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
    """Return the requirements files as options of pip-audit."""
    return [word for path in sorted(folder.glob("*.txt")) for word in ("--requirement", str(path))]


def findings(packages: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each vulnerability, and one that names the unchecked packages."""
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
    """Return why pip-audit printed nothing, from its stderr."""
    last = (said.strip().splitlines() or ["pip-audit says nothing"])[-1]
    unreachable = last.startswith("requests.exceptions.")
    return "the vulnerability service cannot be reached" if unreachable else last.rstrip(".")


def main() -> int:
    """Check the pins and return the exit code: 1 if something was found or not checked."""
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
