"""Read a start-up log of vLLM: its settings, its figures of memory, and how the start ended.

Source of the lines: vllm/v1/engine/core.py, v1/worker/gpu_worker.py, v1/worker/gpu_model_runner.py,
v1/core/kv_cache_utils.py and compilation/ of vLLM 0.19 to 0.33, and for V0 the logs in tests/plan.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import Version, read_version

# A log may be damaged: numbers are no longer than any that vLLM prints.
_COUNT, _RATIO = r"\d[\d,]{0,15}(?!\d)", r"\d{1,9}(?:\.\d{1,9})?"
_MOST, _MOST_GPUS = 2**50, 4096


def _line(pattern: str) -> re.Pattern[str]:
    """Return the pattern of a line, in which <name> stands for a number in GiB."""
    number = r"(?P<\1>-?\\d{1,9}(?:\\.\\d{1,9})?)"
    return re.compile(re.sub(r"(?<!P)<(\w+)>", number, pattern))


# Lines with figures: those in GiB are fields of a Log, the others are read by _OTHERS.
_FIGURES = (
    _line(r"(?:Model loading|Loading model weights) took <weights> G"),
    _line(r"Available KV cache memory:? <kv_cache> GiB"),
    _line(r"Graph capturing finished in .{1,20} secs?, took <graphs> GiB"),
    _line(r"Estimated CUDA graph memory: <graph_estimate> GiB"),
    _line(r"Free memory on device (?:\S+ )?\(<free>/<total> GiB\) on startup"),
    _line(r"GiB for weight, <activation> GiB for peak activation, <non_torch> GiB for non-torch"),
    _line(r"is <consumed> GiB for consumed memory .{1,40}, <activation> GiB for peak activation"),
    _line(rf"KV cache size: (?P<tokens>{_COUNT}) tokens"),
    _line(
        rf"Maximum concurrency for (?P<context>{_COUNT}) tokens per request: (?P<times>{_RATIO})x"
    ),
    _line(r"[Dd]esired GPU memory utilization (?:is )?\((?P<utilization>\d(?:\.\d+)?),"),
    _line(rf"\bmax_num_batched_tokens=(?P<batched>{_COUNT})"),
    _line(rf"Encoder cache will be initialized with a budget of (?P<images>{_COUNT}) tokens"),
    # On a CPU: v1/worker/cpu_worker.py.
    _line(r"(?:Explicitly|Auto) set \(<kv_cache>/<total>\) (?P<cpu>GiB) for KV cache on node"),
    # V0
    _line(
        rf"total_gpu_memory \(<total>GiB\) x gpu_memory_utilization \((?P<utilization>{_RATIO})\)"
    ),
    _line(r"model weights take <weights>GiB; non_torch_memory takes <non_torch>GiB;"),
    _line(r"activation peak memory takes <activation>GiB; .{1,60} KV Cache is <kv_cache>GiB"),
    _line(rf"# (?:GPU|cuda) blocks: (?P<blocks>{_COUNT})"),
    # What ends a start that fails.
    _line(r"<needed> GiB KV cache is needed, .{1,40} available KV cache memory \(<kv_cache> GiB"),
)
_FAILURES = (
    ("GiB KV cache is needed", "one request needs more KV cache than there is"),
    ("No available memory for the cache blocks", "no memory was left for the KV cache"),
    ("is less than desired GPU memory utilization", "other programs held the memory"),
    ("CUDA out of memory", "the GPU ran out of memory"),
    ("torch.OutOfMemoryError", "the GPU ran out of memory"),
)
_COMPILED = ("Cache the graph of compile range", "Compiling a graph for compile range")
_LOADED = ("Directly load the compiled graph", "Directly load AOT compilation")
_VERSION = re.compile(r"(?:LLM engine \(v|API server version v?)(\d+\.\d+(?:\.\d+)?)")
_BANNER, _ARGUMENTS = "with config:", "non-default args"
# Colours of a terminal.
_PAINT = re.compile(r"\x1b\[[0-9;]*m")
# `tensor_parallel_size=4` of the engine's banner, and `'tensor_parallel_size': 4` of the arguments.
_SETTING = re.compile(
    r"['\"]?\b([a-z_]+)['\"]?(?:=|: )(\{\}?|'[^']{0,300}'|\"[^\"]{0,300}\"|[\w./+-]+)"
)


def _whole(most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from 1 to `most`, which raises ValueError for others."""

    def read(text: str) -> int:
        found = int(text)
        if not 1 <= found <= most:
            raise ValueError
        return found

    return read


def _real(most: float) -> Callable[[str], float]:
    """Return a reader of numbers from 0 to `most`, which raises ValueError for others."""

    def read(text: str) -> float:
        found = float(text)
        if not 0 <= found <= most:
            raise ValueError
        return found

    return read


_SETTINGS: dict[str, Callable[[str], Any]] = {
    "tensor_parallel_size": _whole(_MOST_GPUS),
    "pipeline_parallel_size": _whole(_MOST_GPUS),
    "data_parallel_size": _whole(_MOST_GPUS),
    "max_model_len": _whole(_MOST),
    "max_seq_len": _whole(_MOST),
    "max_num_seqs": _whole(_MOST),
    "max_num_batched_tokens": _whole(_MOST),
    "kv_cache_memory_bytes": _whole(_MOST),
    "block_size": _whole(_MOST),
    "gpu_memory_utilization": _real(1),
    "cpu_offload_gb": _real(2**20),
    "enforce_eager": "True".__eq__,
    "enable_expert_parallel": "True".__eq__,
    "kv_cache_dtype": str,
    "dtype": lambda value: value.removeprefix("torch."),
}
_OTHER_NAMES = {"max_seq_len": "max_model_len"}
_BLOCK_SIZE = 16
_WITHOUT = {
    "speculative_config": "a draft model",
    "enable_lora": "adapters",
    "kv_transfer_config": "a KV connector",
    "performance_mode": "a performance mode",
}
_OFF = ("None", "False", "{}", "balanced")
# What drafts, and the methods that do so without a model.
_METHOD = re.compile(
    r"speculative_config[^)}]{0,300}?\bmethod['\"]?(?:=|: {0,2})['\"](?P<method>\w{1,40})"
)
_NGRAMS, _WITHOUT_MODEL = "ngram", ("ngram", "suffix")


@dataclass
class Log:
    """The figures of a log; memory is in bytes, None is what it does not print.

    `weights` and `kv_cache` have a value for each rank that printed one, `images` is the budget of
    the encoder in tokens. `settings` has those of
    vLLM's arguments that a plan knows, by their names; `beyond` names what takes memory beside
    them, and `ngrams` is True if n-grams draft, which take none.
    `compiled` is True if kernels were compiled, False if they were found in the cache. `failure`
    is what ended the start, None if nothing in the log does. With `cpu`, vLLM ran on a CPU.
    """

    version: Version | None = None
    model: str | None = None
    quantization: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    beyond: list[str] = field(default_factory=list)
    total: int | None = None
    free: int | None = None
    weights: list[int] = field(default_factory=list)
    consumed: int | None = None
    activation: int | None = None
    non_torch: int | None = None
    graphs: int | None = None
    graph_estimate: int | None = None
    kv_cache: list[int] = field(default_factory=list)
    tokens: int | None = None
    concurrency: float | None = None
    needed: int | None = None
    images: int | None = None
    compiled: bool | None = None
    failure: str | None = None
    cpu: bool = False
    ngrams: bool = False

    @property
    def is_empty(self) -> bool:
        """True if there is no figure in it that a plan has too."""
        figures = (self.consumed, self.activation, self.graphs, self.tokens, self.needed)
        return not (self.weights or self.kv_cache) and all(each is None for each in figures)


def read_log(text: str) -> Log:
    """Return what a log says of its last start."""
    found = Log()
    for line in _last_start(text):
        if match := _VERSION.search(line):
            found.version = read_version(match[1])
        if _BANNER in line or _ARGUMENTS in line:
            _read_settings(found, line)
            continue
        for pattern in _FIGURES:
            if match := pattern.search(line):
                for name, value in match.groupdict().items():
                    _put(found, name, value)
        _read_end(found, line)
    if found.cpu and found.kv_cache:  # whatever else a CPU holds, the cache is as large as that
        found.settings["kv_cache_memory_bytes"] = min(found.kv_cache)
    return found


def _last_start(text: str) -> list[str]:
    """Return the lines of the last start in a log, which may hold several."""
    lines = [_PAINT.sub("", line) for line in text.splitlines()]
    starts = [place for place, line in enumerate(lines) if _BANNER in line]
    if len(starts) < 2:
        return lines
    # The arguments stand before the engine's banner, after the figures of the start before.
    first = starts[-1]
    while first > starts[-2] + 1 and not _has_figure(lines[first - 1]):
        first -= 1
    return lines[first:]


def _has_figure(line: str) -> bool:
    return any(each.search(line) for each in _FIGURES if "batched" not in each.groupindex)


def _read_settings(found: Log, line: str) -> None:
    drafting = _METHOD.search(line)
    method = drafting["method"] if drafting else None
    found.ngrams |= method == _NGRAMS
    for name, value in _pairs(line):
        if name == "model":
            found.model = value
        elif name == "quantization":
            found.quantization = None if value == "None" else value
        elif name in _WITHOUT:
            if name == "speculative_config" and method in _WITHOUT_MODEL:
                continue
            if value not in _OFF and _WITHOUT[name] not in found.beyond:
                found.beyond.append(_WITHOUT[name])
        elif name in _SETTINGS:
            with suppress(ValueError):  # None is vLLM's own
                found.settings[_OTHER_NAMES.get(name, name)] = _SETTINGS[name](value)


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yield each setting of a line once, the first where its name is there again."""
    seen = set()
    settings = line.partition(_BANNER)[2] or line.partition(_ARGUMENTS)[2]
    for match in _SETTING.finditer(settings.partition("compilation_config=")[0]):
        name, value = match[1], match[2].strip("'\"")
        if name not in seen:
            seen.add(name)
            yield name, value


def _put(found: Log, name: str, value: str) -> None:
    """Keep one figure of a line."""
    if name in _OTHERS:
        _OTHERS[name](found, value)
        return
    size = int(float(value) * GIB)
    if name in ("weights", "kv_cache"):
        getattr(found, name).append(size)
    else:
        setattr(found, name, size)


def _put_tokens(found: Log, value: str) -> None:
    found.tokens = _count(value)


def _put_images(found: Log, value: str) -> None:
    found.images = _count(value)


def _put_times(found: Log, value: str) -> None:
    found.concurrency = float(value)


def _put_blocks(found: Log, value: str) -> None:
    found.tokens = _count(value) * int(found.settings.get("block_size", _BLOCK_SIZE))


def _put_context(found: Log, value: str) -> None:
    if tokens := _count(value):
        found.settings.setdefault("max_model_len", tokens)


def _put_utilization(found: Log, value: str) -> None:
    with suppress(ValueError):
        found.settings["gpu_memory_utilization"] = _SETTINGS["gpu_memory_utilization"](value)


def _put_batched(found: Log, value: str) -> None:
    if tokens := _count(value):
        found.settings["max_num_batched_tokens"] = tokens


def _put_cpu(found: Log, _value: str) -> None:
    found.cpu = True


_OTHERS: dict[str, Callable[[Log, str], None]] = {
    "tokens": _put_tokens,
    "images": _put_images,
    "times": _put_times,
    "blocks": _put_blocks,
    "context": _put_context,
    "utilization": _put_utilization,
    "batched": _put_batched,
    "cpu": _put_cpu,
}


def _read_end(found: Log, line: str) -> None:
    if any(each in line for each in _COMPILED):
        found.compiled = True
    elif found.compiled is None and any(each in line for each in _LOADED):
        found.compiled = False
    if found.failure is None:
        found.failure = next((why for mark, why in _FAILURES if mark in line), None)


def _count(number: str) -> int:
    return int(number.replace(",", ""))
