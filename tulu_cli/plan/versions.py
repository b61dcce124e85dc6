"""The rules of vLLM's memory by release: one row a change, with its source.

A rule holds from its release on, until a later row of the same name replaces it.
"""

import re
from typing import Any, NamedTuple

from tulu_cli.errors import UsageError

Version = tuple[int, int, int]


class Rules(NamedTuple):
    """The rules of one release; sizes are in bytes.

    The server's max_num_seqs and max_num_batched_tokens are `small_*`, `large_*` on GPUs of at
    least `large_bytes`, and `huge_batch` from `huge_bytes` on; the LLM class has `small_llm_batch`
    and `large_llm_batch` instead. `chunk` is max_num_batched_tokens of V0 where the context is
    beyond 32,768 tokens. With `in_flight`, a sliding window also keeps the tokens of the batches
    that are on their way beside the one that is computed.

    `second_runner` names the architectures that Model Runner V2 serves: by name, "dense" for those
    without experts, "all" for all; with `second_runner_quantized`, quantized ones too, and beside a
    draft where its kind, "model" or "ngram", is in `second_runner_drafts`. Runner 1
    holds `sampler_bytes` for each logit beside the logit itself, and with `sampler_buffer` a row of
    logits for each multiprocessor. Runner 2 does so with `second_sampler`, and keeps counters for
    penalties, which `state_in_budget` takes from the KV cache.

    `graphs_in_budget` takes CUDA graphs from the KV cache with runner 1, `second_graphs_in_budget`
    with runner 2. `capture_limit` is the largest batch that has a graph, `blackwell_capture_limit`
    that on compute capability 10.x, where it differs; with `full_graphs`, decoding has whole graphs
    beside the pieces. With `split_limit`, weights are loaded into blocks that are not split from
    20 MiB on. Without `counts_workspace`, cuBLAS has its workspace before vLLM begins to count.
    With `keeps_experts`, the buffers of expert kernels stay there after the forward pass.

    Compiling with an empty cache has a peak of `compile_bytes`, and leaves `compile_left_bytes`
    allocated; both are divided by the GPUs that share a layer.

    With `hybrid_cache`, layers with a window keep only that; with `hybrid_prefixes`, prefixes of
    recurrent layers are cached, and a request has two states of each.

    `library_bytes` is the memory of CUDA's libraries, `hopper_library_bytes` that on data-centre
    GPUs from Hopper on; with `nvls`, NCCL keeps buffers for NVLink switches. `bitsandbytes` and
    `gguf` are True where weights quantized so need no plug-in, `hqq` where it is known at all.
    `reserved_blocks` are held back from requests. With `tokens_by_request`, the cache size that
    vLLM prints is the number of tokens that requests of the longest context can use.
    """

    engine: int = 0
    utilization: float = 0.9
    small_seqs: int = 256
    large_seqs: int = 256
    large_bytes: int = 70 * 2**30
    huge_bytes: int = 2**60
    small_batch: int = 2048
    large_batch: int = 2048
    small_llm_batch: int = 8192
    large_llm_batch: int = 8192
    huge_batch: int = 16384
    chunk: int = 512
    sampler_bytes: int = 36
    sampler_buffer: bool = False
    second_runner: tuple[str, ...] = ()
    second_runner_quantized: bool = False
    second_runner_drafts: tuple[str, ...] = ()
    second_sampler: bool = False
    state_in_budget: bool = False
    graphs_in_budget: bool = False
    second_graphs_in_budget: bool = False
    split_limit: bool = False
    counts_workspace: bool = True
    keeps_experts: bool = False
    compile_bytes: int = 0
    compile_left_bytes: int = 0
    capture_limit: int = 256
    blackwell_capture_limit: int | None = None
    full_graphs: bool = False
    hybrid_cache: bool = False
    hybrid_prefixes: bool = False
    nvls: bool = False
    nested_scales: bool = True
    bitsandbytes: bool = True
    gguf: bool = True
    in_flight: bool = False
    hqq: bool = True
    reserved_blocks: int = 0
    tokens_by_request: bool = False
    library_bytes: int = 300 * 2**20
    hopper_library_bytes: int = 300 * 2**20


# (release, rule, value, source)
CHANGES: tuple[tuple[Version, str, Any, str], ...] = (
    ((0, 6, 4), "chunk", 2048, "vllm/config.py: SchedulerConfig, chunked prefill of 2,048"),
    (
        (0, 7, 0),
        "library_bytes",
        75 * 2**20,
        "logs: 0.02 to 0.07 GiB, the CUDA context aside",
    ),
    ((0, 7, 0), "hopper_library_bytes", 150 * 2**20, "logs of H100: 0.13 to 0.16 GiB"),
    ((0, 8, 0), "engine", 1, "release notes of v0.8.0: V1 is the default"),
    ((0, 8, 0), "small_seqs", 1024, "PR #16158 describes the 1,024 that it takes back"),
    ((0, 8, 0), "large_seqs", 1024, "PR #16158"),
    ((0, 8, 0), "large_batch", 8192, "PR #12369: larger defaults for H100 and H200"),
    ((0, 8, 0), "large_llm_batch", 16384, "PR #12369"),
    ((0, 8, 0), "capture_limit", 512, "vllm/config.py: V1 captures up to 512"),
    ((0, 8, 4), "small_seqs", 256, "PR #16158: 256 again but on H100 and H200"),
    ((0, 9, 1), "nested_scales", False, "bitsandbytes_loader.py: nested scales are unpacked"),
    ((0, 10, 0), "hybrid_cache", True, "vllm/v1/core/kv_cache_utils.py: groups of layers"),
    ((0, 11, 0), "full_graphs", True, "docs: cudagraph_mode FULL_AND_PIECEWISE is the default"),
    ((0, 11, 1), "nvls", True, "PR #24141: NCCL_CUMEM_ENABLE=0 is no longer set"),
    ((0, 12, 0), "library_bytes", 128 * 2**20, "a log of 0.19 on 24 GB: 0.10 GiB"),
    ((0, 12, 0), "hopper_library_bytes", 256 * 2**20, "llm-d-planner's report: 0.24-0.26 GiB"),
    ((0, 13, 0), "keeps_experts", True, "v1/worker/workspace.py of v0.13.0, not of v0.12.0"),
    ((0, 15, 0), "hqq", False, "hqq_marlin.py: in 0.14.0, not in 0.15.0"),
    ((0, 17, 0), "sampler_bytes", 12, "topk_topp_triton.py: masks in place, sorts no more"),
    ((0, 17, 0), "sampler_buffer", True, "topk_topp_triton.py: one row a program"),
    ((0, 20, 0), "graphs_in_budget", True, "vllm/envs.py of v0.20.0; false in v0.19.1"),
    ((0, 21, 0), "split_limit", True, "PR #41268; gpu_worker.py of v0.22.0, not of v0.20.2"),
    (
        (0, 22, 0),
        "second_runner",
        ("Qwen3ForCausalLM",),
        "vllm/config/vllm.py of v0.22.0: DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES, no quantized ones",
    ),
    (
        (0, 22, 0),
        "compile_bytes",
        950 * 2**20,
        "logs of 0.22 to 0.29 that compile first: 0.86 to 1.04 GiB with 2,048 tokens",
    ),
    (
        (0, 23, 0),
        "second_runner",
        ("LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM"),
        "vllm/config/vllm.py of v0.23.0",
    ),
    (
        (0, 24, 0),
        "second_runner",
        (
            "DeepseekV2ForCausalLM",
            "GraniteMoeForCausalLM",
            "LlamaForCausalLM",
            "MistralForCausalLM",
            "Qwen2MoeForCausalLM",
            "Qwen3ForCausalLM",
        ),
        "vllm/config/vllm.py of v0.24.0",
    ),
    ((0, 24, 0), "second_runner_quantized", True, "vllm/config/vllm.py of v0.24.0"),
    ((0, 24, 0), "gguf", False, "layers/quantization/__init__.py: in 0.23.0, not in 0.24.0"),
    ((0, 24, 0), "tokens_by_request", True, "kv_cache_utils.py of v0.24.0: get_kv_cache_capacity"),
    (
        (0, 25, 0),
        "second_runner",
        ("dense", "DeepseekV2ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM"),
        "PR #44443; vllm/config/vllm.py of v0.25.0: _is_default_v2_model_runner_model",
    ),
    ((0, 25, 0), "utilization", 0.92, "vllm/config/cache.py of v0.25.0; 0.90 in older logs"),
    (
        (0, 26, 0),
        "hybrid_prefixes",
        True,
        "vllm/config/model.py of v0.26.0: is_prefix_caching_supported",
    ),
    (
        (0, 26, 0),
        "in_flight",
        True,
        "kv_cache_interface.py of v0.26.0: SlidingWindowSpec counts max_in_flight_tokens",
    ),
    ((0, 27, 0), "state_in_budget", True, "mem_utils.py of v0.27.0: total_consumed"),
    (
        (0, 27, 0),
        "compile_left_bytes",
        550 * 2**20,
        "logs of 0.28 and 0.29 that compile first; total_consumed counts whole segments",
    ),
    ((0, 28, 0), "bitsandbytes", False, "PR #43529: moved to vllm-bnb-plugin"),
    (
        (0, 28, 0),
        "blackwell_capture_limit",
        1024,
        "PR #49390; vllm/config/vllm.py: _set_cudagraph_sizes",
    ),
    ((0, 28, 0), "huge_bytes", 160 * 2**30, "arg_utils.py of v0.28.0: get_batch_defaults"),
    ((0, 29, 0), "second_runner", ("all",), "vllm/config/vllm.py of v0.29.0: use_v2_model_runner"),
    (
        (0, 29, 0),
        "second_graphs_in_budget",
        True,
        "v1/worker/gpu/model_runner.py: profile_cudagraph_memory is 0 up to v0.28.0",
    ),
    (
        (0, 31, 0),
        "compile_left_bytes",
        0,
        "gpu_worker.py of v0.31.0: determine_available_memory limits splits too",
    ),
    (
        (0, 31, 0),
        "second_runner_drafts",
        ("model",),
        "vllm/config/vllm.py of v0.31.0: _get_v2_model_runner_unsupported_features",
    ),
    ((0, 32, 0), "second_runner_drafts", ("model", "ngram"), "vllm/config/vllm.py of v0.32.0"),
    ((0, 32, 0), "reserved_blocks", 1, "kv_cache_utils.py: the null block is held back"),
    (
        (0, 33, 0),
        "second_sampler",
        True,
        "v1/worker/gpu/model_runner.py of v0.33.0: _dummy_sampler_run samples in float32",
    ),
    ((0, 33, 0), "counts_workspace", False, "gpu_worker.py of v0.33.0: init_device runs cuBLAS"),
)
NEWEST: Version = (0, 33, 0)
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


def read_version(text: str) -> Version:
    """Read a release such as 0.24.0; what follows the three numbers is left out.

    Raise UsageError for a text that does not begin with numbers.
    """
    match = _VERSION.match(text)
    if not match:
        raise UsageError(f"--vllm-version takes a release such as 0.24.0, not {text!r}.")
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def rules_of(version: Version) -> Rules:
    """Return the rules that hold in a release."""
    changed = {name: value for since, name, value, _ in CHANGES if since <= version}
    return Rules(**changed)


def newer_than_known(version: Version) -> str | None:
    """Return a warning for a release newer than all rules, or None."""
    if version <= NEWEST:
        return None
    asked, known = (".".join(map(str, each)) for each in (version, NEWEST))
    return f"vLLM {asked} is newer than any release known here: planned as {known}."


def sources(version: Version) -> tuple[str, ...]:
    """Return a line for each rule of a release: its name, value and source."""
    held = {name: (since, source) for since, name, _, source in CHANGES if since <= version}
    rules = rules_of(version)
    lines = []
    for name, value in rules._asdict().items():
        since, source = held.get(name, ((0, 0, 0), "vLLM V0"))
        written = ".".join(map(str, since))
        lines.append(f"{name} = {value} (since {written}; {source})")
    return tuple(lines)
