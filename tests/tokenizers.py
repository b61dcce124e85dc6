"""Tokenizers that a process reads once, however many of its tests load the same one."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from tulu_cli.disk import read_bytes
from tulu_cli.errors import TuluError
from tulu_cli.prompt import Tokenizer, tokenizer

_MOST = 16  # of some 20 MB each
# What is read beside tokenizer.json.
_BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_MORE = "additional_chat_templates/*.jinja"
_kept: dict[Hashable, Any] = {}


def keep_tokenizers() -> None:
    """Have `Tokenizer.load` give the same object for the same files in this process."""
    load, load_backend = Tokenizer.load, tokenizer.load_backend

    def loaded(directory: Path) -> Tokenizer:
        paths = [directory / name for name in _BESIDE] + sorted(directory.glob(_MORE))
        found: Tokenizer = _once(directory, paths, lambda: load(directory))
        return found

    def loaded_backend(path: Path, declared: tokenizer.Declarations) -> Any:
        # Models that differ in their templates alone have the same one.
        paths = [path.parent / name for name in _BESIDE[:2]]
        return _once(path.parent, paths, lambda: load_backend(path, declared))

    Tokenizer.load = loaded  # type: ignore[method-assign]
    tokenizer.load_backend = loaded_backend


def own_tokenizer(directory: Path) -> Tokenizer:
    """Load one that nobody else has, for a test that changes it."""
    kept = dict(_kept)
    _kept.clear()
    try:
        return Tokenizer.load(directory)
    finally:
        _kept.clear()
        _kept.update(kept)


def _once(directory: Path, paths: list[Path], load: Callable[[], Any]) -> Any:
    """What the files gave before; what cannot be read is for the loading to say."""
    try:
        state = (directory / "tokenizer.json").stat()
        texts = [(path.name, read_bytes(path)) for path in paths]
    except (OSError, TuluError):
        return load()
    key = (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size, *texts)
    found = _kept.pop(key, None)  # by one step each: a test may load in several threads
    if found is None:
        found = load()
    _kept[key] = found
    for old in list(_kept)[:-_MOST]:  # which were asked for longest ago
        _kept.pop(old, None)
    return found
