"""Adapters (LoRA) as PEFT writes them: adapter_config.json and adapter_model.safetensors.

An adapter adds to the output of some linear layers of its base model, x A B scaled by alpha / rank,
with A of `rank` rows. Only plain LoRA is taken: what else PEFT has, one of the engines would load
and apply wrongly, or not at all.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tulu_cli.disk import read_json, reading
from tulu_cli.errors import BadInput, ModelNotFound, UsageError
from tulu_cli.models.config import has_only_pickles, only_pickles
from tulu_cli.models.headers import TensorHeader, read_headers
from tulu_cli.models.reference import CONFIG_OF_ADAPTER, resolve
from tulu_cli.streams import Progress, no_progress
from tulu_cli.text import listed, told

WEIGHTS = "adapter_model.safetensors"
NONE = "none"  # in the place of adapters, for the model alone
_NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)
_TENSOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(?:embedding_)?([AB])(?:\.weight)?")
# What follows the number of a layer, which checkpoints of one model put below different names.
_IN_LAYER = re.compile(r"\w+\.\d+\..+")
_MOST_RANK = 2**16
# Fields of PEFT's LoraConfig that change what an adapter means, with the word for each.
_VARIANTS = {
    "use_dora": "DoRA",
    "modules_to_save": "whole modules beside LoRA (modules_to_save)",
    "lora_bias": "biases (lora_bias)",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA (aLoRA)",
    "layer_replication": "replicated layers (layer_replication)",
    "trainable_token_indices": "trained tokens (trainable_token_indices)",
}
# The ways to begin training from which a plain LoRA comes; others have changed the base's weights.
_PLAIN_BEGINNINGS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")


# The ranks of which vLLM has slots. Source: MaxLoRARanks in vllm/config/lora.py, alike in 0.30 to
# 0.33.
_SLOT_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter whose files are here; requests ask for it by its `name`.

    `rank` is the largest of its layers, `base` the model that it says it was trained on. `shapes`
    has the sizes (in, out) of each layer that it changes; `has_patterns` says that ranks or alphas
    differ between them.
    """

    name: str
    directory: Path
    rank: int
    base: str | None = None
    shapes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    has_patterns: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """The last names of the layers that it changes, such as q_proj, sorted."""
        return tuple(sorted({name.rpartition(".")[2] for name in self.shapes}))

    def content_hash(self) -> str:
        """Return a hash of the config and the weights: another training has another one."""
        found = sha256()
        for name in (CONFIG_OF_ADAPTER, WEIGHTS):
            with reading(self.directory / name), (self.directory / name).open("rb") as file:
                while piece := file.read(2**20):
                    found.update(piece)
        return found.hexdigest()[:16]


def slot_rank(adapters: Sequence[Adapter]) -> int:
    """Return the least rank of vLLM's slots that all of these fit in. Raise UsageError for none."""
    largest = max(adapters, key=lambda one: one.rank)
    for rank in _SLOT_RANKS:
        if rank >= largest.rank:
            return rank
    raise UsageError(
        f"The adapter {largest.name} has rank {largest.rank:,}, and vLLM takes {_SLOT_RANKS[-1]} "
        "at most: give --engine transformers."
    )


def all_targets(adapters: Sequence[Adapter]) -> tuple[str, ...]:
    """Return the last names of the layers that any of these changes, sorted."""
    return tuple(sorted({name for adapter in adapters for name in adapter.targets}))


def named(text: str) -> tuple[str, str]:
    """Return the name and the place of what --adapter is given: NAME=PLACE, or a place alone.

    A directory is called by its last part, and a repository by its whole name.
    """
    match = _NAMED.fullmatch(text)
    if match is not None and not os.path.exists(text):
        return match[1], match[2]
    is_path = os.path.isdir(text) or text.startswith((".", "/", "~"))
    path = os.path.abspath(os.path.expanduser(text))
    return (os.path.basename(path) or text) if is_path else text, text


def locate_adapter(place: str, *, offline: bool = False, progress: Progress = no_progress) -> Path:
    """Return the directory of an adapter: a path, or a repository's, fetched if need be.

    Raise ModelNotFound if it cannot be had, BadInput for pickles, and TuluError if the Hub fails.
    """
    path = os.path.abspath(os.path.expanduser(place))
    if os.path.isdir(path):
        return Path(path)
    if place.startswith((".", "/", "~")) or os.path.exists(path):
        raise ModelNotFound(f"There is no directory {place!r}: an adapter (LoRA) is one.")
    try:
        ref = resolve(place)
    except ModelNotFound:
        ref = None
    if ref is None or ref.kind != "hub":
        raise ModelNotFound(
            f"{place!r} is not an adapter: name its directory, or a repository as org/name."
        )
    from tulu_cli.models.hub import adapter_snapshot

    return adapter_snapshot(ref, offline=offline, progress=progress)


def read_adapter(directory: Path, name: str) -> Adapter:
    """Read the config and the header of an adapter's weights, never the weights.

    Raise ModelNotFound where there is no adapter, and BadInput for one that is damaged, has its
    weights only as pickles, or is more than a plain LoRA.
    """
    place = repr(str(directory))
    if not (directory / CONFIG_OF_ADAPTER).is_file():
        raise ModelNotFound(
            f"{place} has no {CONFIG_OF_ADAPTER}: an adapter (LoRA) is a directory, or a "
            f"repository, with that file and {WEIGHTS}."
        )
    config = read_json(directory / CONFIG_OF_ADAPTER)
    _refuse_variants(config, place)
    weights = directory / WEIGHTS
    if not weights.is_file():
        if has_only_pickles(directory.iterdir()):
            raise only_pickles(str(directory))
        raise ModelNotFound(f"{place} has no {WEIGHTS}: fetch the adapter again.")
    shapes, rank = _layers(weights)
    declared = [config["r"], *_numbers(config.get("rank_pattern"))]
    if rank > max(declared):
        raise BadInput(
            f"{place} has a layer of rank {rank:,}, and its {CONFIG_OF_ADAPTER} says "
            f"{max(declared):,}: fetch the adapter again."
        )
    base = config.get("base_model_name_or_path")
    patterns = bool(config.get("rank_pattern") or config.get("alpha_pattern"))
    return Adapter(
        name,
        directory,
        max(rank, *declared),
        base if isinstance(base, str) and base else None,
        shapes,
        patterns,
    )


def check_name(
    adapter: Adapter, place: str, others: Iterable[Adapter], models: Iterable[str | None] = ()
) -> None:
    """Raise UsageError for an adapter with the name of another one or of its model."""
    name, again = adapter.name, f"give it another name by --adapter NAME={place}"
    if any(name == other.name for other in others):
        raise UsageError(f"Two adapters are called {name}: {again}.")
    if name in models:
        raise UsageError(f"An adapter cannot be called {name}, as its model is: {again}.")


def check_base(adapter: Adapter, model: str, headers: Iterable[TensorHeader]) -> None:
    """Raise UsageError for an adapter of another model than the one with these tensors.

    Layers are compared by what follows the number of the layer: `layers.0.self_attn.q_proj`. Those
    of a quantized model are only looked for by name.
    """
    sizes: dict[str, set[tuple[int, int] | None]] = {}
    for name, dtype, shape in headers:
        module, _, kind = name.rpartition(".")
        is_plain = kind == "weight" and len(shape) == 2 and dtype in ("BF16", "F16", "F32")
        size = (shape[1], shape[0]) if is_plain else None
        sizes.setdefault(_tail(module), set()).add(size)
    if not sizes:
        return
    tied = sizes.get("embed_tokens", {None})
    for name, (inner, outer) in adapter.shapes.items():
        tail = _tail(name.removesuffix(".base_layer"))
        there = sizes.get(tail) or (tied if tail == "lm_head" else None)
        is_group = any(one.startswith(f"{tail}.") for one in sizes) if there is None else False
        if there is None and not is_group:
            raise UsageError(
                f"The adapter {adapter.name} is not for {model}, which has no layer {tail}: "
                f"{_its_base(adapter)}."
            )
        plain = {size for size in there or () if size is not None}
        both = {(inner, outer), (outer, inner)} if tail == "embed_tokens" else {(inner, outer)}
        if plain and not plain & both:
            a, b = min(plain)
            raise UsageError(
                f"The adapter {adapter.name} is not for {model}: {tail} is {a:,} x {b:,} there, "
                f"and {inner:,} x {outer:,} in the adapter; {_its_base(adapter)}."
            )


def _its_base(adapter: Adapter) -> str:
    if adapter.base is None:
        return "it does not say what its base is"
    return f"its base is {adapter.base!r}"


def _tail(module: str) -> str:
    match = _IN_LAYER.search(module)
    return match[0] if match else module.rpartition(".")[2]


def _refuse_variants(config: Mapping[str, Any], place: str) -> None:
    """Raise BadInput for a config that is broken, or of more than a plain LoRA."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise BadInput(f"{place} is an adapter of the kind {told(kind)}: only LoRA is supported.")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 0 < rank <= _MOST_RANK:
        raise BadInput(f"The {CONFIG_OF_ADAPTER} of {place} has a rank r of {told(rank)}.")
    if type(alpha) not in (int, float):
        raise BadInput(f"The {CONFIG_OF_ADAPTER} of {place} has a lora_alpha of {told(alpha)}.")
    found = [word for name, word in _VARIANTS.items() if config.get(name)]
    if config.get("bias") not in (None, "none"):
        found.append(f"biases (bias={config['bias']!r})")
    beginning = config.get("init_lora_weights")
    if isinstance(beginning, str) and beginning.lower() not in _PLAIN_BEGINNINGS:
        found.append(f"init_lora_weights={beginning!r}, which changes the base's own weights")
    if found:
        raise BadInput(
            f"{place} is not a plain LoRA: it has {listed(found)}. Merge it into its base with "
            "PEFT (merge_and_unload), and name the result."
        )


def _numbers(pattern: Any) -> Sequence[int]:
    values = pattern.values() if isinstance(pattern, Mapping) else ()
    return [value for value in values if type(value) is int]


def _layers(weights: Path) -> tuple[dict[str, tuple[int, int]], int]:
    """Return the sizes (in, out) of each layer, and the largest rank. Raise BadInput."""
    halves: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, _, shape in read_headers(weights):
        match = _TENSOR.fullmatch(name)
        if match is None or len(shape) != 2:
            raise BadInput(f"{str(weights)!r} has a tensor {told(name)}, which no plain LoRA has.")
        halves.setdefault(match[1], {})[match[2]] = shape
    shapes, rank = {}, 0
    for name, pair in halves.items():
        a, b = pair.get("A"), pair.get("B")
        if a is None or b is None or a[0] != b[1]:
            raise BadInput(f"The halves of {name} in {str(weights)!r} do not fit: fetch it again.")
        shapes[name] = (a[1], b[0])
        rank = max(rank, a[0])
    if not shapes:
        raise BadInput(f"{str(weights)!r} holds no tensors: fetch the adapter again.")
    return shapes, rank
