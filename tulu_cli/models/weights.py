"""Which files a directory must have before an engine may open it."""

from collections.abc import Iterable
from pathlib import Path

from tulu_cli.errors import BadInput, ModelNotFound
from tulu_cli.models.config import read_json

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TOKENIZERS = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "tekken.json", "*.tiktoken")


def missing_files(directory: Path, *, weights: bool = True) -> list[str]:
    """The names of what a whole model would have and this directory does not: [] is complete."""
    missing = [] if (directory / "config.json").is_file() else ["config.json"]
    if not any(any(directory.glob(pattern)) for pattern in _TOKENIZERS):
        missing.append("tokenizer.json")
    return missing + (missing_weights(directory) if weights else [])


def missing_weights(directory: Path) -> list[str]:
    """The safetensors files that are not here. Raises BadInput where the index is broken."""
    index = directory / "model.safetensors.index.json"
    if index.is_file() and not (directory / "model.safetensors").is_file():
        return [name for name in _indexed(index) if not (directory / name).is_file()]
    # A link of the Hub's cache whose blob is gone is still listed by glob: is_file follows it.
    present = any(path.is_file() for path in directory.glob("*.safetensors"))
    return [] if present else ["*.safetensors"]


def _indexed(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{str(index)!r} does not say which files hold the weights.")
    return sorted(set(names))


def require_weights(directory: Path, name: str) -> None:
    """Refuse a directory without safetensors: BadInput for pickles, else ModelNotFound."""
    missing = missing_weights(directory)
    if not missing:
        return
    if has_only_pickles(directory.iterdir()):
        raise only_pickles(name)
    raise ModelNotFound(f"{name!r} lacks {listed(missing)}: fetch the model again.")


def has_only_pickles(paths: Iterable[Path]) -> bool:
    """Whether there are weights among the files, and all of them pickles."""
    kinds = {path.suffix for path in paths}
    return ".safetensors" not in kinds and not kinds.isdisjoint(_PICKLES)


def only_pickles(name: str) -> BadInput:
    """The refusal of weights that could run code when they are loaded."""
    return BadInput(
        f"{name!r} has its weights only as pickle files, which can run code when they are "
        "loaded: convert them to safetensors, or choose another model."
    )


def listed(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    shown, more = names[:3], len(names[3:])
    return ", ".join(shown) + (f" and {more} more" if more else "")
