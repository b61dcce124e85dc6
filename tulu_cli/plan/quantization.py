"""The storage of quantized weights: the parts of a weight, and the weights that stay plain."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.plan.versions import Version, rules_of

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
    order of the inputs is stored.
    """

    method: str
    bits: int = 8
    group: int = 128
    skipped: tuple[str, ...] = ()
    nested: bool = False
    index: bool = False


_NAMED = {
    "fp8": Quantization("tensor"),
    "int8": Quantization("channel"),
    "awq": Quantization("packed", 4),
    "gptq": Quantization("packed", 4, index=True),
    "bitsandbytes": Quantization("nf4", 4, 64),
    "bitsandbytes-int8": Quantization("channel"),
}
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

    Raise TuluError for an unknown method, and BadInput for a broken description.
    """
    found = config.get("quantization_config")
    if not found:
        return None
    if not isinstance(found, Mapping):
        raise BadInput("The quantization_config of config.json is not an object.")
    method = str(found.get("quant_method") or "")
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
    if module.rpartition(".")[2] in _PLAIN or _is_skipped(quantization, module):
        return None
    return _PARTS[quantization.method](quantization, dimensions)


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
    "nf4": _nf4,
}


def _is_skipped(how: Quantization, module: str) -> bool:
    return any(
        re.match(pattern.removeprefix(_REGEX), module)
        if pattern.startswith(_REGEX)
        else f".{pattern}." in f".{module}."
        for pattern in (pattern.strip("*.") for pattern in how.skipped)
    )


def _skipped(found: Mapping[str, Any]) -> tuple[str, ...]:
    for key in ("modules_to_not_convert", "ignore", "exclude_modules", "llm_int8_skip_modules"):
        if isinstance(found.get(key), list):
            return tuple(_checked(str(name), key) for name in found[key])
    return ()


def _checked(pattern: str, key: str) -> str:
    if pattern.startswith(_REGEX):
        try:
            re.compile(pattern.removeprefix(_REGEX))
        except re.error as error:
            raise BadInput(
                f"The quantization_config of config.json has {pattern!r} in {key}, which is not a "
                f"regular expression: {error}."
            ) from error
    return pattern


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
        f"Weights quantized by modelopt's {algorithm} cannot be planned: known are FP8 and NVFP4."
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
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict):
        raise BadInput("The quantization_config of config.json has no config_groups.")
    bits, kind = _whole(weights.get("num_bits", 8), "num_bits"), weights.get("type")
    skipped = _skipped(found)
    if bits == 8 and weights.get("group_size") is None:
        return Quantization(
            "tensor" if weights.get("strategy") == "tensor" else "channel", skipped=skipped
        )
    group = _whole(weights.get("group_size") or 128, "group_size")
    if bits == 4 and kind == "float":
        return Quantization("nvfp4", 4, group, skipped)
    return Quantization("signed", bits, group, skipped)


def _whole(value: Any, key: str) -> int:
    if type(value) is not int or not 0 < value <= 2**20:
        raise BadInput(f"The quantization_config of config.json has a {key} of {value!r}.")
    return value
