"""Files of a model that were changed at random: a sentence or an answer, and never a crash."""

import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.models.tiny_gguf import write_tiny_gguf
from tulu_cli.commands.models.show import ShowOptions
from tulu_cli.commands.models.show import run as show
from tulu_cli.errors import BadInput, ModelNotFound, TuluError
from tulu_cli.machine import Machine
from tulu_cli.models import resolve
from tulu_cli.models.config import require_weights
from tulu_cli.plan.read import plan_model
from tulu_cli.plan.run import PlanOptions, run
from tulu_cli.prompt.builtin import read_chat_templates
from tulu_cli.prompt.tokenizer import Tokenizer
from tulu_cli.streams import Streams

FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
LAYERS, WIDTH, ROWS = 2, 64, 130
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": 160,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": ROWS,
    "max_position_embeddings": 512,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": False,
    "sliding_window": 64,
    "layer_types": ["full_attention", "sliding_attention"],
    "partial_rotary_factor": 1.0,
    "eos_token_id": [1, 2],
    "attention_bias": False,
}
LATENT = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "q_lora_rank": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
SCHEME = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False}
GROUPS = {
    "quant_method": "compressed-tensors",
    "ignore": ["lm_head"],
    "kv_cache_scheme": SCHEME,
    "config_groups": {
        "group_0": {"targets": ["re:.*self_attn.*"], "weights": SCHEME},
        "group_1": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
        },
    },
}
CONFIGS: list[dict[str, Any]] = [
    CONFIG,
    CONFIG
    | {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "layer_types": None},
    CONFIG
    | {"architectures": ["Gemma3ForCausalLM"], "sliding_window_pattern": 2, "layer_types": None},
    CONFIG | LATENT | {"layer_types": None},
    CONFIG | {"quantization_config": GROUPS},
    CONFIG | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
    CONFIG | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32}},
    CONFIG
    | {
        "quantization_config": {
            "quant_method": "modelopt",
            "quant_algo": "NVFP4",
            "kv_cache_quant_algo": "NVFP4",
        }
    },
    CONFIG
    | {
        "quantization_config": {
            "producer": {"name": "modelopt"},
            "quantization": {"quant_algo": "FP8"},
        }
    },
]
ENGINES: tuple[Literal["vllm", "transformers"], ...] = ("vllm", "transformers")
NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 7, 2**31, 2**63, 2**64 - 1, 10**30, 10**4000, -(10**30)]),
    st.sampled_from([0.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf")]),
    st.integers(-(2**70), 2**70),
    st.floats(),
)
DEEP: Any = json.loads("[" * 300 + "]" * 300)
VALUES = st.one_of(
    NUMBERS,
    st.none() | st.booleans(),
    st.sampled_from(
        ["", "7", "re:[", "re:.*", "\x1b[2J\u202e", "A" * 3000, DEEP, [], {}, [[]], [None]]
    ),
    st.lists(NUMBERS | st.text(max_size=5), max_size=4),
    st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3),
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each object and array below a value with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from places(inner)


@st.composite
def spoiled(draw: Callable[..., Any], sound: st.SearchStrategy[Any]) -> Any:
    """Draw a copy of a sound value in which one to three values are others, or are not there."""
    value = json.loads(json.dumps(draw(sound)))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(places(value)) or [({"": 0}, "")]))
        if isinstance(holder, dict) and draw(st.integers(0, 4)) == 0:
            holder.pop(key, None)
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = json.loads(json.dumps(draw(VALUES)))
    return value


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Fail what would never end."""
    signal.alarm(120)
    yield
    signal.alarm(0)


def looked_at(path: Path) -> None:
    """Plan and show what is there, and fail for anything else than a sentence."""
    plans = [
        PlanOptions((str(path),), gpu="24GiB", engine=engine, json_output=as_json, offline=True)
        for engine in ENGINES
        for as_json in (False, True)
    ]
    for plan in plans:
        with suppress(TuluError):
            run(plan, Streams.test(), Machine)
    for form in ("text", "json"):
        with suppress(TuluError):
            show(ShowOptions(str(path), form=form, offline=True), Streams.test(), {})


def header_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the header of a safetensors file with the weights of a sound Llama."""
    shapes = {
        "model.embed_tokens.weight": [config["vocab_size"], WIDTH],
        "model.norm.weight": [WIDTH],
        **{f"model.layers.{layer}.mlp.up_proj.weight": [160, WIDTH] for layer in range(LAYERS)},
        **{f"model.layers.{layer}.self_attn.k_proj.weight": [16, WIDTH] for layer in range(LAYERS)},
    }
    found, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        found[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return found


ENTRY = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}


def write_safetensors(path: Path, header: Any, size: int = 10**6) -> None:
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)


@example(CONFIG | {"max_position_embeddings": 10**4000})
@example(CONFIG | {"eos_token_id": "</s>"})
@example(CONFIG | {"eos_token_id": [1, float("inf")]})
@example(CONFIG | {"architectures": 7})
@example(CONFIG | {"hidden_size": 10**30})
@example(CONFIG | {"num_hidden_layers": 10**9})
@example(CONFIG | {"hidden_size": DEEP})
@FEW
@given(config=spoiled(st.sampled_from(CONFIGS)))
def test_a_config(tmp_path: Path, config: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    looked_at(tmp_path)


@example(header_of(CONFIG) | {"model.embed_tokens.weight": ENTRY | {"shape": []}})
@example({"x": ENTRY | {"shape": [2**62] * 20_000}})
@example({"x": ENTRY | {"shape": [10**4000]}})
@example({f"model.layers.{'9' * 5000}.mlp.up_proj.weight": ENTRY})
@FEW
@given(header=spoiled(st.just(header_of(CONFIG))))
def test_a_header(tmp_path: Path, header: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"layer_types": None}))
    write_safetensors(tmp_path / "model.safetensors", header)
    looked_at(tmp_path)


INDEX = {
    "metadata": {"total_size": 1},
    "weight_map": dict.fromkeys(header_of(CONFIG), "model-00001-of-00001.safetensors"),
}
BESIDE = {
    "generation_config.json": {"eos_token_id": [1, 2], "temperature": 0.6},
    "hf_quant_config.json": {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8"},
    },
    "tokenizer_config.json": {
        "chat_template": [{"name": "default", "template": "{{ messages }}"}],
        "eos_token": "</s>",
    },
    "model.safetensors.index.json": INDEX,
}


@FEW
@given(data=st.data(), name=st.sampled_from(list(BESIDE)))
def test_a_file_beside_the_config(tmp_path: Path, data: st.DataObject, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"layer_types": None}))
    for other, sound in BESIDE.items():
        value = data.draw(spoiled(st.just(sound))) if other == name else sound
        (tmp_path / other).write_text(json.dumps(value))
    write_safetensors(tmp_path / "model-00001-of-00001.safetensors", header_of(CONFIG))
    looked_at(tmp_path)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


SPANS = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xff" * 4,
        b"\xff" * 8,
        struct.pack("<Q", 2**62),
        struct.pack("<I", 9),
        bytes(64),
    ]
)


@FEW
@given(data=st.data())
def test_a_gguf_header(tmp_path: Path, gguf: bytes, data: st.DataObject) -> None:
    changed = bytearray(gguf)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, min(len(changed), 16_000)))
        span = data.draw(SPANS | st.binary(max_size=8))
        changed[at : at + data.draw(st.sampled_from([0, len(span), 100]))] = span
    path = tmp_path / "spoiled.gguf"
    path.write_bytes(changed)
    looked_at(path)


def gguf_tensor(dimensions: int) -> bytes:
    name, count = struct.pack("<Q", 1) + b"x", struct.pack("<I", dimensions)
    sizes = struct.pack("<Q", 2**62) * dimensions
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + name + count + sizes + bytes(12)


def test_a_tensor_of_more_dimensions_than_there_are(tmp_path: Path) -> None:
    path = tmp_path / "many.gguf"
    path.write_bytes(gguf_tensor(400_000))
    with pytest.raises(BadInput, match="a tensor of 400,000 dimensions"):
        run(PlanOptions((str(path),), gpu="24GiB"), Streams.test(), Machine)


OTHERS = [
    *("generation_config.json", "hf_quant_config.json", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"),
    "additional_chat_templates/tool_use.jinja",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer.json").write_text("{}")
    write_safetensors(tmp_path / "model.safetensors", header_of(CONFIG))
    return tmp_path


@pytest.mark.parametrize("name", OTHERS)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(model: Path, name: str) -> None:
    path = model / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(BadInput, match=rf"{path.name}' is a pipe, a socket or a device"):
        read_all(model)


def read_all(model: Path) -> None:
    plan_model(resolve(str(model)))
    read_chat_templates(model, {})
    Tokenizer.load(model)


@pytest.mark.parametrize("kind", ["socket", "device"])
def test_no_socket_and_no_device_is_opened(model: Path, kind: str) -> None:
    path = model / "tokenizer.json"
    path.unlink()
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    with pytest.raises(BadInput, match="is a pipe, a socket or a device"):
        read_all(model)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_weights_that_are_a_pipe_are_none(model: Path, name: str) -> None:
    (model / "model.safetensors").unlink()
    os.mkfifo(model / name)
    with pytest.raises(ModelNotFound, match="lacks"):
        require_weights(model, "m")


def test_a_file_that_is_far_too_large_is_not_read(model: Path) -> None:
    os.truncate(model / "config.json", 200 * 2**20)
    with pytest.raises(BadInput, match=r"config.json' is larger than 0.06 GiB"):
        plan_model(resolve(str(model)))


def test_a_config_of_very_many_keys_is_read(model: Path) -> None:
    keys = dict.fromkeys(map(str, range(100_000)), 0)
    (model / "config.json").write_text(json.dumps(CONFIG | keys | {"hidden_size": "A" * 10**6}))
    with pytest.raises(BadInput, match=r"has a hidden_size of 'A{76}\.\.\.\."):
        plan_model(resolve(str(model)))
