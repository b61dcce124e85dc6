"""The storage of quantized weights: the parts of a weight, and the weights that stay plain."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from math import prod

from tulu_cli.errors import TuluError, UsageError
from tulu_cli.plan.versions import Version, rules_of

Parts = list[tuple[str, tuple[int, ...], int]]

# Modules that no method for linear layers quantizes; GGUF files do quantize the first two.
_PLAIN = frozenset(
    (
        *("embed_tokens", "embed_tokens_per_layer", "lm_head", "score", "gate", "router"),
        *("shared_expert_gate", "position_embedding", "pos_embed"),
    )
)
# What comes before the names of a language model's modules, in vLLM or in files old and new.
_PREFIXES = ("model.language_model.", "language_model.model.", "language_model.", "model.")
# Bytes and weights of a block of each GGUF type. Source: ggml-common.h of llama.cpp.
GGUF_BLOCKS = {
    "q4_0": (18, 32),
    "q4_1": (20, 32),
    "q5_0": (22, 32),
    "q5_1": (24, 32),
    "q8_0": (34, 32),
    "q2_k": (84, 256),
    "q3_k": (110, 256),
    "q4_k": (144, 256),
    "q5_k": (176, 256),
    "q6_k": (210, 256),
    "iq4_nl": (18, 32),
    "iq4_xs": (136, 256),
}


@dataclass(frozen=True)
class Quantization:
    """A way to store weights.

    `group` weights share a scale; `skipped` names the modules that stay plain, as patterns of
    quantization_config. `nested` is True where the scales are quantized too, `index` where GPTQ's
    order of the inputs is stored. With the method "targets", each module is stored in the way of
    the first of `targets` that it matches, and stays plain where it matches none.
    """

    method: str
    bits: int = 8
    group: int = 128
    skipped: tuple[str, ...] = ()
    nested: bool = False
    index: bool = False
    targets: tuple[tuple[str, "Quantization"], ...] = ()

    @cached_property
    def skipped_names(self) -> frozenset[str]:
        """What is skipped by a name, which may be any part of a module's path."""
        names = (name for name in self.skipped if not name.startswith(REGEX))
        return frozenset(_short(name.strip("*.")) for name in names)

    @cached_property
    def skipped_patterns(self) -> tuple[str, ...]:
        """What is skipped by a regular expression."""
        return tuple(name for name in self.skipped if name.startswith(REGEX))

    @cached_property
    def named_targets(self) -> "dict[str, tuple[int, Quantization]]":
        """The place of each target, and what it stands for."""
        return {name: (place, how) for place, (name, how) in enumerate(self.targets)}

    @cached_property
    def target_patterns(self) -> tuple[str, ...]:
        """The targets that are regular expressions."""
        return tuple(name for name in self.named_targets if name.startswith(REGEX))

    @cached_property
    def target_classes(self) -> "tuple[tuple[str, Quantization], ...]":
        """The targets that may be classes, which have no dot."""
        return tuple((name.lower(), how) for name, how in self.targets if "." not in name)


class UnknownScheme(TuluError):
    """Weights are quantized in a way whose bytes are not known from the config alone."""


_NAMED = {
    "fp8": Quantization("tensor"),
    "int8": Quantization("channel"),
    "awq": Quantization("packed", 4),
    "gptq": Quantization("packed", 4, index=True),
    "bitsandbytes": Quantization("nf4", 4, 64),
    "bitsandbytes-int8": Quantization("channel"),
}
REGEX = "re:"  # compressed-tensors marks a regular expression in `ignore` so
# vLLM's name of each method that it has without a plug-in.
VLLM_METHODS = {"fp8": "fp8", "int8": "compressed-tensors", "awq": "awq", "gptq": "gptq"}
NAMES = (*_NAMED, *(f"gguf-{kind}" for kind in GGUF_BLOCKS))


def named_quantization(name: str) -> Quantization:
    """Return the quantization that `--quantization` names. Raise UsageError if there is none."""
    if name in _NAMED:
        return _NAMED[name]
    kind = name.lower().removeprefix("gguf-")
    if name.lower().startswith("gguf-") and kind in GGUF_BLOCKS:
        return Quantization(f"gguf-{kind}")
    raise UsageError(f"--quantization takes one of {', '.join(NAMES)}, not {name!r}.")


def without_plugin(
    model: str, quantization: str | None, version: Version, packages: Collection[str]
) -> str | None:
    """Return why this release of vLLM cannot load weights quantized so, or None if it can.

    `quantization` is a name of `--quantization` or the method that a checkpoint names, `packages`
    are those installed.
    """
    rules, kind = rules_of(version), str(quantization).partition("-")[0]
    has = {"bitsandbytes": rules.bitsandbytes, "gguf": rules.gguf}
    if kind == "hqq" and not rules.hqq:
        return (
            f"{model}: vLLM {'.'.join(map(str, version))} loads no HQQ weights, which 0.14 was the "
            "last to do; --engine transformers does."
        )
    plugin = {"bitsandbytes": "vllm-bnb-plugin", "gguf": "vllm-gguf-plugin"}.get(kind)
    if plugin is None or has[kind] or plugin in packages:
        return None
    release = ".".join(map(str, version))
    name = "GGUF" if kind == "gguf" else kind
    also = "; --engine transformers needs no plug-in" if kind == "bitsandbytes" else ""
    return (
        f"{model}: vLLM {release} loads {name} weights only with its plug-in "
        f"(pip install {plugin}){also}."
    )


def stored(
    quantization: Quantization | None, name: str, dimensions: tuple[int, ...]
) -> Parts | None:
    """Return the parts (name, shape, bits) that a weight is stored in, None if it stays plain."""
    stacked = ".experts." in name
    if quantization is None or not name.endswith(".weight") or len(dimensions) != 2 + stacked:
        return None
    module = name.removesuffix(".weight")
    if quantization.method.startswith("gguf-"):
        block, weights = GGUF_BLOCKS[quantization.method.removeprefix("gguf-")]
        columns = dimensions[-1] * block // weights
        return [("weight", (*dimensions[:-1], columns), 8)]
    if quantization.method == "mxfp4":
        return _mxfp4(quantization, dimensions) if stacked else None
    if _is_skipped(quantization, module):
        return None
    plain = module.rpartition(".")[2] in _PLAIN
    if quantization.targets:
        found = _by_target(quantization, module, plain=plain)
        return _PARTS[found.method](found, dimensions) if found else None
    return None if plain else _PARTS[quantization.method](quantization, dimensions)


# vLLM's classes of the modules of a layer; any other one is some kind of Linear.
_CLASSES = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "qkv_proj"), "QKVParallelLinear"),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj"), "MergedColumnParallelLinear"),
    **dict.fromkeys(("o_proj", "down_proj"), "RowParallelLinear"),
}


def _by_target(quantization: Quantization, module: str, *, plain: bool) -> Quantization | None:
    """Return the quantization of the first target that a module matches, None for none.

    As vLLM's find_matched_target (compressed_tensors/utils.py of 0.32): names go first, whole or
    as a regular expression, and then classes, of which a part is enough. Experts have the names
    of their parts, and "Linear" means them too. A head, an embedding and a router are matched by
    name only.
    """
    path, _, last = module.rpartition(".")
    names = _names(module)
    found = [
        quantization.named_targets[name] for name in names if name in quantization.named_targets
    ]
    found += [
        quantization.named_targets[pattern]
        for pattern in quantization.target_patterns
        if _matches(pattern, names)
    ]
    if found:
        return min(found, key=lambda one: one[0])[1]
    kind = "RoutedExperts Linear" if path.endswith(".experts") else _CLASSES.get(last, "Linear")
    by_class = (how for name, how in quantization.target_classes if name in kind.lower())
    return None if plain else next(by_class, None)


def _names(module: str) -> list[str]:
    """Return the names by which a module is known: of experts, those of the parts of the first."""
    path, _, last = module.rpartition(".")
    names = [module]
    if path.endswith(".experts"):
        parts = {"gate_up_proj": ("gate_proj", "up_proj")}.get(last, (last,))
        names += [*(f"{path}.0.{part}" for part in parts), path]
    short = [_short(name) for name in names]
    return names + [before + name for name in short for before in ("", *_PREFIXES)]


def _short(name: str) -> str:
    """Return a module's name without what comes before that of the language model or encoder."""
    before = next((one for one in _PREFIXES if name.startswith(one)), "")
    return name.removeprefix(before)


def _matches(pattern: str, names: list[str]) -> bool:
    return any(re.match(pattern.removeprefix(REGEX), name) for name in names)


def _tensor(_how: Quantization, size: tuple[int, ...]) -> Parts:
    return [("weight", size, 8), ("weight_scale", (1,), 32)]


def _channel(_how: Quantization, size: tuple[int, ...]) -> Parts:
    return [("weight", size, 8), ("weight_scale", (*size[:-1], 1), 32)]


def _block(how: Quantization, size: tuple[int, ...]) -> Parts:
    blocks = (*size[:-2], -(-size[-2] // how.group), -(-size[-1] // how.group))
    return [("weight", size, 8), ("weight_scale_inv", blocks, 32)]


def _grouped(how: Quantization, size: tuple[int, ...]) -> Parts:
    """Return the parts of AWQ and GPTQ: input by output, packed into 32 bits."""
    rows, columns = size[-2:]
    groups = max(1, columns // how.group)
    lead = size[:-2]
    parts = [
        ("qweight", (*lead, columns, rows * how.bits // 32), 32),
        ("qzeros", (*lead, groups, rows * how.bits // 32), 32),
        ("scales", (*lead, groups, rows), 16),
    ]
    return [*parts, ("g_idx", (columns,), 32)] if how.index else parts


def _signed(how: Quantization, size: tuple[int, ...]) -> Parts:
    """Return the parts of compressed-tensors with groups: packed, without zero points."""
    groups = max(1, size[-1] // how.group)
    packed = (*size[:-1], size[-1] * how.bits // 32)
    return [("weight_packed", packed, 32), ("weight_scale", (*size[:-1], groups), 16)]


def _nvfp4(how: Quantization, size: tuple[int, ...]) -> Parts:
    scales = (*size[:-1], size[-1] // how.group)
    return [("weight_packed", (*size[:-1], size[-1] // 2), 8), ("weight_scale", scales, 8)]


def _mxfp8(how: Quantization, size: tuple[int, ...]) -> Parts:
    return [("weight", size, 8), ("weight_scale", (*size[:-1], -(-size[-1] // how.group)), 8)]


def _mxfp4(how: Quantization, size: tuple[int, ...]) -> Parts:
    return [("mxfp4_blocks", size, 4), ("mxfp4_scales", (*size[:-1], -(-size[-1] // how.group)), 8)]


def _hqq(how: Quantization, size: tuple[int, ...]) -> Parts:
    """Return the parts of a weight with a scale and a zero point of 16 bits for each group."""
    groups = (*size[:-1], max(1, size[-1] // how.group))
    return [("W_q", size, how.bits), ("scale", groups, 16), ("zero", groups, 16)]


def _nf4(how: Quantization, size: tuple[int, ...]) -> Parts:
    weights = prod(size)
    scales = weights // how.group
    parts: Parts = [("weight", (weights // 2,), 8)]
    if not how.nested:
        return [*parts, ("absmax", (scales,), 32)]
    return [*parts, ("absmax", (scales,), 8), ("nested_absmax", (-(-scales // 256),), 32)]


_PARTS = {
    "tensor": _tensor,
    "channel": _channel,
    "block": _block,
    "packed": _grouped,
    "signed": _signed,
    "nvfp4": _nvfp4,
    "mxfp8": _mxfp8,
    "nf4": _nf4,
    "mxfp4": _mxfp4,
    "hqq": _hqq,
}


def _is_skipped(how: Quantization, module: str) -> bool:
    words = _short(module).split(".")
    ends = range(1, len(words) + 1)
    paths = (".".join(words[start:end]) for end in ends for start in range(end))
    if not how.skipped_names.isdisjoint(paths):
        return True
    names = _names(module)
    return any(_matches(pattern, names) for pattern in how.skipped_patterns)
