"""Running the converter as a child process and turning what it reports into ours."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tulu_cli.dependencies import install
from tulu_cli.errors import BadInput, DoesNotFit, NoEngine, TuluError
from tulu_cli.models.processes import end_group, last_line
from tulu_cli.models.progress import Progress
from tulu_cli.quantities import gib

_CONVERTER = Path(__file__).with_name("convert.py")
# The child has all that it needs on the disk, and needs no GPU.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}


def run_conversion(
    source: Path, destination: Path, name: str, needed: int, progress: Progress
) -> Path:
    """Convert `source` into `destination` and return that; `needed` is the size in bytes.

    The child dies with this process, whatever kills it, and with any exception here, Ctrl-C
    included. Raises what `_failure` says.
    """
    log = destination.with_name("convert.log")
    # -P: neither the working directory nor this package's folder may shadow a library's modules.
    command = [sys.executable, "-P", str(_CONVERTER), "--leashed", str(source), str(destination)]
    with log.open("wb") as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
        try:
            report = _follow(child, name, progress)
            code = child.wait()
        finally:
            end_group(child)
    if code:
        raise _failure(report, code, name, needed, last_line(log))
    return destination


def _follow(child: subprocess.Popen[str], name: str, progress: Progress) -> dict[str, Any]:
    """Pass the child's reports on until it closes its stdout; the last one is returned."""
    report: dict[str, Any] = {}
    for line in child.stdout or ():
        report = json.loads(line)
        if "stage" in report:
            progress(f"{report['stage']} ({name})", report["done"], report["total"])
    return report


def _failure(
    report: dict[str, Any], code: int, name: str, needed: int, last_words: str
) -> TuluError:
    kind, detail = report.get("failure"), report.get("detail", last_words)
    if kind == "file":
        return BadInput(f"{name!r} is cut short or damaged ({detail}): fetch the file again.")
    if kind == "install":
        return NoEngine(
            f"A GGUF model cannot be converted here ({detail}): {install('transformers')}."
        )
    if kind == "memory" or code == -signal.SIGKILL:
        return DoesNotFit(
            f"Converting {name!r} ran out of memory: it needs about {gib(needed)} of RAM. "
            "Close other programs, or choose a smaller model."
        )
    if kind == "model":
        return TuluError(f"transformers cannot convert {name!r} ({detail}): choose another model.")
    return TuluError(f"Converting {name!r} failed ({detail}): check the space on the disk.")
