"""The storage of quantized weights: the parts of a weight, and the weights that stay plain."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.models.config import quantization_of
from tulu_cli.plan.versions import Version, rules_of
from tulu_cli.text import told

Parts = list[tuple[str, tuple[int, ...], int]]

# Modules that no method for linear layers quantizes; GGUF files do quantize the first two.
_PLAIN = ("embed_tokens", "lm_head", "score", "gate")
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
        names = (name for name in self.skipped if not name.startswith(_REGEX))
        return frozenset(name.strip("*.") for name in names)

    @cached_property
    def skipped_patterns(self) -> tuple[str, ...]:
        """What is skipped by a regular expression."""
        return tuple(name for name in self.skipped if name.startswith(_REGEX))

    @cached_property
    def named_targets(self) -> "dict[str, tuple[int, Quantization]]":
        """The place of each target, and what it stands for."""
        return {name: (place, how) for place, (name, how) in enumerate(self.targets)}

    @cached_property
    def target_patterns(self) -> tuple[str, ...]:
        """The targets that are regular expressions."""
        return tuple(name for name in self.named_targets if name.startswith(_REGEX))

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
_LONGEST_REGEX = 1000
_MOST_REPETITIONS = 5  # as many as ".*layers.*mlp.*experts.*_proj.*" has
_REGEX = "re:"  # compressed-tensors marks a regular expression in `ignore` so
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


def read_quantization(config: Mapping[str, Any]) -> Quantization | None:
    """Return the quantization that a config.json describes, None if the weights are plain.

    Raise TuluError for an unknown method, UnknownScheme for a method that stores weights in a way
    that is not known, and BadInput for a broken description.
    """
    found = quantization_of(config)
    if found is None:
        return None
    method = str(found["quant_method"])[:100]
    readers = {
        "fp8": _fp8,
        "fbgemm_fp8": lambda it: Quantization("channel", skipped=_skipped(it)),
        "compressed-tensors": _compressed,
        "modelopt": _modelopt,
        "awq": _packed,
        "gptq": _packed,
        "bitsandbytes": _bitsandbytes,
    }
    if method not in readers:
        raise TuluError(
            f"Weights quantized by {method or 'an unnamed method'} cannot be planned: known are "
            f"{', '.join(readers)}."
        )
    return readers[method](found)


def read_kv_dtype(config: Mapping[str, Any]) -> str | None:
    """Return the data type that a checkpoint asks for its KV cache, None for the model's own.

    Sources, alike in vLLM 0.30 to 0.33: attention.py takes any kv_cache_scheme of
    compressed-tensors for fp8 and refuses all others than 8-bit floats; utils/torch_utils.py
    (get_kv_cache_quant_algo_string) knows ModelOpt's, and takes what it does not know for none.
    Raise TuluError for a cache that vLLM refuses.
    """
    found = quantization_of(config) or {}
    scheme = found.get("kv_cache_scheme")
    if found.get("quant_method") == "modelopt":
        return _modelopt_kv_dtype(scheme or found.get("kv_cache_quant_algo"))
    if found.get("quant_method") != "compressed-tensors" or scheme is None:
        return None
    kind = scheme if isinstance(scheme, Mapping) else {}
    if (kind.get("type"), kind.get("num_bits")) != ("float", 8):
        raise TuluError(
            f"The checkpoint asks for a KV cache of {told(kind.get('num_bits'))} bits of the type "
            f"{told(kind.get('type'))}, which vLLM refuses: it knows float of 8 bits."
        )
    return "fp8"


def _modelopt_kv_dtype(asked: Any) -> str | None:
    if isinstance(asked, Mapping):
        if asked.get("type") != "float":
            return None
        if asked.get("num_bits") == 8 and asked.get("dynamic") is False:
            return "fp8_e4m3"
        return "nvfp4" if asked.get("num_bits") == 4 else None
    return {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}.get(str(asked).lower())


def stored(
    quantization: Quantization | None, name: str, dimensions: tuple[int, ...]
) -> Parts | None:
    """Return the parts (name, shape, bits) that a weight is stored in, None if it stays plain."""
    if quantization is None or not name.endswith(".weight") or len(dimensions) < 2:
        return None
    module = name.removesuffix(".weight")
    if quantization.method.startswith("gguf-"):
        block, weights = GGUF_BLOCKS[quantization.method.removeprefix("gguf-")]
        columns = dimensions[-1] * block // weights
        return [("weight", (*dimensions[:-1], columns), 8)]
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
    if not path.endswith(".experts"):
        return [module]
    parts = {"gate_up_proj": ("gate_proj", "up_proj")}.get(last, (last,))
    return [module, *(f"{path}.0.{part}" for part in parts), path]


def _matches(pattern: str, names: list[str]) -> bool:
    return any(re.match(pattern.removeprefix(_REGEX), name) for name in names)


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
}


def _is_skipped(how: Quantization, module: str) -> bool:
    words = module.split(".")
    ends = range(1, len(words) + 1)
    paths = (".".join(words[start:end]) for end in ends for start in range(end))
    if not how.skipped_names.isdisjoint(paths):
        return True
    names = _names(module)
    return any(_matches(pattern, names) for pattern in how.skipped_patterns)


def _skipped(found: Mapping[str, Any]) -> tuple[str, ...]:
    for key in ("modules_to_not_convert", "ignore", "exclude_modules", "llm_int8_skip_modules"):
        if isinstance(found.get(key), list):
            return tuple(_checked(str(name), key) for name in found[key])
    return ()


def _checked(pattern: str, key: str) -> str:
    """Return a pattern that can be matched. Raise BadInput, or UnknownScheme if it may not end."""
    if not pattern.startswith(_REGEX):
        return pattern
    regex = pattern.removeprefix(_REGEX)
    if len(regex) > _LONGEST_REGEX or _may_not_end(regex):
        raise UnknownScheme(
            f"The quantization_config of config.json has {told(pattern)} in {key}, which could "
            "take for ever to match: its weights can be planned by their headers only."
        )
    try:
        re.compile(regex)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadInput(
            f"The quantization_config of config.json has {told(pattern)} in {key}, which is not a "
            f"regular expression: {error}."
        ) from error
    return pattern


def _may_not_end(regex: str) -> bool:
    """Return True for repetitions that Python's `re` may try in a number of ways without bound.

    Those are repetitions inside of repetitions, choices inside of them, and many side by side.
    """
    left = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", regex, flags=re.DOTALL)
    while group := re.search(r"\(([^()]*)\)([*+{]?)", left):
        body, repeated = group.groups()
        if repeated and re.search(r"[*+{|]", body):
            return True
        held = "*" * len(re.findall(r"[*+{]", body))
        left = f"{left[: group.start()]}x{held}{repeated}{left[group.end() :]}"
    return len(re.findall(r"[*+{]", left)) > _MOST_REPETITIONS


def _fp8(found: Mapping[str, Any]) -> Quantization:
    sizes = found.get("weight_block_size")
    if not sizes:
        return Quantization("tensor", skipped=_skipped(found))
    first = sizes[0] if isinstance(sizes, list) else sizes
    return Quantization("block", group=_whole(first, "weight_block_size"), skipped=_skipped(found))


def _modelopt(found: Mapping[str, Any]) -> Quantization:
    algorithm = str(found.get("quant_algo"))
    if algorithm == "FP8":
        return Quantization("tensor", skipped=_skipped(found))
    if algorithm == "NVFP4":
        return Quantization("nvfp4", 4, 16, _skipped(found))
    raise TuluError(
        f"Weights quantized by modelopt's {algorithm[:100]} cannot be planned: known are FP8 and "
        "NVFP4."
    )


def _packed(found: Mapping[str, Any]) -> Quantization:
    return Quantization(
        "packed",
        _whole(found.get("bits", 4), "bits"),
        _whole(found.get("group_size", 128), "group_size"),
        _skipped(found),
        index=found.get("quant_method") == "gptq",
    )


def _bitsandbytes(found: Mapping[str, Any]) -> Quantization:
    if found.get("load_in_8bit"):
        return Quantization("channel", skipped=_skipped(found))
    return Quantization(
        "nf4", 4, 64, _skipped(found), nested=bool(found.get("bnb_4bit_use_double_quant"))
    )


def _compressed(found: Mapping[str, Any]) -> Quantization:
    groups = found.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise BadInput("The quantization_config of config.json has no config_groups.")
    targets: dict[str, Quantization] = {}
    for name, group in groups.items():
        named = group.get("targets", ["Linear"]) if isinstance(group, Mapping) else None
        if not isinstance(named, list) or not all(isinstance(target, str) for target in named):
            raise BadInput(f"The config_groups of config.json has no targets in {name!r}.")
        if len(named) == 1 and named[0].endswith("Attention"):
            continue  # queries and the cache, not weights: vLLM skips such a group too
        how = _of_group(name, group.get("weights"))
        targets |= {_checked(target, "targets"): how for target in named}
    return Quantization("targets", skipped=_skipped(found), targets=tuple(targets.items()))


def _of_group(name: str, weights: Any) -> Quantization:
    """Return how a group of compressed-tensors stores a weight."""
    if not isinstance(weights, Mapping):
        raise BadInput(f"The config_groups of config.json has no weights in {name!r}.")
    bits, kind = _whole(weights.get("num_bits", 8), "num_bits"), weights.get("type", "int")
    if (kind, bits) not in (("float", 4), ("float", 8), *(("int", n) for n in range(2, 9))):
        raise UnknownScheme(
            f"Weights of {bits} bits of the type {told(kind)}, as config_groups of config.json has "
            f"in {name!r}, cannot be planned without the headers of the weights."
        )
    if weights.get("strategy") == "block":
        sizes = weights.get("block_structure")
        first = sizes[0] if isinstance(sizes, list) and sizes else sizes
        return Quantization("block", group=_whole(first, "block_structure"))
    if bits == 8 and weights.get("group_size") is None:
        return Quantization("tensor" if weights.get("strategy") == "tensor" else "channel")
    group = _whole(weights.get("group_size") or 128, "group_size")
    if kind == "float":
        return Quantization("nvfp4" if bits == 4 else "mxfp8", bits, group)
    return Quantization("signed", bits, group)


def _whole(value: Any, key: str) -> int:
    if type(value) is not int or not 0 < value <= 2**20:
        raise BadInput(f"The quantization_config of config.json has a {key} of {told(value)}.")
    return value
