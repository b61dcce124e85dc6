"""The quantization_config of a config.json, read as the way that weights are stored.

The names of methods are vLLM's; what a method skips or treats apart is written in each one's own
way.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tulu_cli.errors import BadInput, TuluError
from tulu_cli.models.config import quantization_of
from tulu_cli.plan.quantization import REGEX, Quantization, UnknownScheme
from tulu_cli.text import told

_LONGEST_REGEX = 1000
_MOST_REPETITIONS = 5  # as many as ".*layers.*mlp.*experts.*_proj.*" has
_WHOLE_ROW = 2**20  # a group that is wider than any row
# Characters that make a name of GPTQ's or AutoRound's lists a regular expression.
_SPECIAL = frozenset("*+?^$()[]{}|\\")


def read_quantization(config: Mapping[str, Any]) -> Quantization | None:
    """Return the quantization that a config.json describes, None if the weights are plain.

    Raise TuluError for an unknown method, UnknownScheme for a method that stores weights in a way
    that is not known, and BadInput for a broken description.
    """
    found = quantization_of(config)
    if found is None:
        return None
    method = str(found["quant_method"])[:100]
    if method not in _READERS:
        raise TuluError(
            f"Weights quantized by {method or 'an unnamed method'} cannot be planned: known are "
            f"{', '.join(_READERS)}."
        )
    return _READERS[method](found)


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


def _skipped(found: Mapping[str, Any]) -> tuple[str, ...]:
    for key in ("modules_to_not_convert", "ignore", "exclude_modules", "llm_int8_skip_modules"):
        if isinstance(found.get(key), list):
            return tuple(_checked(_as_regex(str(name)), key) for name in found[key])
    return ()


def _as_regex(name: str) -> str:
    """Return a name that has a wildcard in its middle as a regular expression."""
    if name.startswith(REGEX) or "*" not in name.strip("*."):
        return name
    return f"{REGEX}.*{re.escape(name.strip('*.')).replace(re.escape('*'), '.*')}"


def _checked(pattern: str, key: str) -> str:
    """Return a pattern that can be matched. Raise BadInput, or UnknownScheme if it may not end."""
    if not pattern.startswith(REGEX):
        return pattern
    regex = pattern.removeprefix(REGEX)
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


# ModelOpt's algorithms, as modelopt.py of vLLM 0.33 has them.
_MODELOPT = {
    "FP8": Quantization("tensor"),
    "FP8_PER_CHANNEL_PER_TOKEN": Quantization("channel"),
    "FP8_PB_WO": Quantization("block"),
    "NVFP4": Quantization("nvfp4", 4, 16),
    "W4A16_NVFP4": Quantization("nvfp4", 4, 16),
    "MXFP8": Quantization("mxfp8", 8, 32),
}


def _modelopt(found: Mapping[str, Any]) -> Quantization:
    algorithm, skipped = str(found.get("quant_algo")), _skipped(found)
    if algorithm == "MIXED_PRECISION":
        layers = found.get("quantized_layers")
        if not isinstance(layers, Mapping):
            raise BadInput("The quantization_config of config.json has no quantized_layers.")
        targets = {
            str(name): _algorithm(
                str(each.get("quant_algo") if isinstance(each, Mapping) else each)
            )
            for name, each in layers.items()
        }
        return Quantization("targets", skipped=skipped, targets=tuple(targets.items()))
    return replace(_algorithm(algorithm), skipped=skipped)


def _algorithm(name: str) -> Quantization:
    if name not in _MODELOPT:
        raise TuluError(
            f"Weights quantized by modelopt's {name[:100]} cannot be planned: known are "
            f"{', '.join(_MODELOPT)} and MIXED_PRECISION."
        )
    return _MODELOPT[name]


def _packed(found: Mapping[str, Any]) -> Quantization:
    """Return GPTQ or AWQ; `dynamic` of GPTQModel skips layers, or gives them other bits."""
    index = found.get("quant_method") == "gptq"
    how = Quantization(
        "packed",
        _whole(found.get("bits", found.get("w_bit", 4)), "bits"),
        _group(found.get("group_size", found.get("q_group_size", 128))),
        _skipped(found),
        index=index,
    )
    dynamic = found.get("dynamic")
    if not isinstance(dynamic, Mapping) or not dynamic:
        return how
    skipped = list(how.skipped)
    targets: dict[str, Quantization] = {}
    for rule, changes in dynamic.items():
        pattern = _checked(REGEX + rule.removeprefix("-:").removeprefix("+:"), "dynamic")
        if rule.startswith("-:"):
            skipped.append(pattern)
        else:
            targets[pattern] = _changed(how, changes)
    return _with_targets(how, tuple(skipped), targets)


def _changed(how: Quantization, changes: Any) -> Quantization:
    if not isinstance(changes, Mapping):
        raise BadInput(f"The quantization_config of config.json has a rule of {told(changes)}.")
    bits, group = changes.get("bits", how.bits), changes.get("group_size")
    return Quantization(
        how.method,
        _whole(bits, "bits"),
        how.group if group is None else _group(group),
        index=how.index,
    )


def _with_targets(
    how: Quantization, skipped: tuple[str, ...], targets: Mapping[str, Quantization]
) -> Quantization:
    """Return a way with exceptions to it; what matches none of them is stored as `how` says."""
    rest = Quantization(how.method, how.bits, how.group, index=how.index)
    named = (*targets.items(), ("Linear", rest))
    return Quantization("targets", skipped=skipped, targets=named)


def _auto_round(found: Mapping[str, Any]) -> Quantization:
    """Return the format of AutoRound, which vLLM calls INC: GPTQ's or AWQ's packing."""
    kind, packing = str(found.get("data_type", "int")), str(found.get("packing_format", "gptq"))
    if kind != "int":
        raise UnknownScheme(
            f"Weights that AutoRound stores as {told(kind)} cannot be planned without the headers "
            "of the weights."
        )
    how = Quantization(
        "packed",
        _whole(found.get("bits"), "bits"),
        _group(found.get("group_size")),
        index="gptq" in packing,
    )
    targets: dict[str, Quantization] = {}
    skipped: list[str] = []
    rules = found.get("extra_config") or {}
    for name, changes in rules.items() if isinstance(rules, Mapping) else ():
        pattern = f"{REGEX}.*(?:{name})" if _SPECIAL & set(name) else name
        changed = _changed(how, changes)
        if changed.bits >= _PLAIN_BITS:
            skipped.append(_checked(pattern, "extra_config"))
        else:
            targets[_checked(pattern, "extra_config")] = changed
    return _with_targets(how, tuple(skipped), targets)


_PLAIN_BITS = 16


def _mxfp4(found: Mapping[str, Any]) -> Quantization:
    """Return OCP's 4-bit floats, in which the experts of gpt-oss are stored, and they alone."""
    return Quantization("mxfp4", 4, 32, _skipped(found))


def _hqq(found: Mapping[str, Any]) -> Quantization:
    """Return HQQ, which keeps a scale and a zero point of each group."""
    inner = found.get("quant_config")
    weights = inner.get("weight_quant_params") if isinstance(inner, Mapping) else None
    values = weights if isinstance(weights, Mapping) else found
    bits, group = values.get("nbits", 4), values.get("group_size", 64) or -1
    return Quantization("hqq", _whole(bits, "nbits"), _group(group), _skipped(found))


def _torchao(found: Mapping[str, Any]) -> Quantization:
    """Return torchao's weights by the name of their class: 8 or 4 bits, a row's or a group's."""
    named = found.get("quant_type")
    default = named.get("default") if isinstance(named, Mapping) else named
    kind = str(default.get("_type") if isinstance(default, Mapping) else default)
    values = default.get("_data") if isinstance(default, Mapping) else None
    values = values if isinstance(values, Mapping) else {}
    lowered = kind.lower().replace("_", "")
    if "int4weightonly" in lowered:
        return Quantization("hqq", 4, _group(values.get("group_size", 128)), _skipped(found))
    if lowered.startswith(("int8", "float8")) and "int4" not in lowered:
        return Quantization("channel", skipped=_skipped(found))
    raise UnknownScheme(
        f"Weights that torchao stores as {told(kind)} cannot be planned without the headers of "
        "the weights."
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
    group = _group(weights.get("group_size") or 128)
    if kind == "float":
        return Quantization("nvfp4" if bits == 4 else "mxfp8", bits, group)
    return Quantization("signed", bits, group)


def _whole(value: Any, key: str) -> int:
    if type(value) is not int or not 0 < value <= 2**20:
        raise BadInput(f"The quantization_config of config.json has a {key} of {told(value)}.")
    return value


def _group(value: Any) -> int:
    """Return the size of a group; -1 is a whole row."""
    return _WHOLE_ROW if value == -1 else _whole(value, "group_size")


_READERS: dict[str, Callable[[Mapping[str, Any]], Quantization]] = {
    "fp8": _fp8,
    "fbgemm_fp8": lambda it: Quantization("channel", skipped=_skipped(it)),
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "awq": _packed,
    "gptq": _packed,
    "auto-round": _auto_round,
    "mxfp4": _mxfp4,
    "bitsandbytes": _bitsandbytes,
    "hqq": _hqq,
    "torchao": _torchao,
}
