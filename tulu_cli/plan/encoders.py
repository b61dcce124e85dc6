"""The weights of the image encoders of models that see.

A row of the table of towers is one encoder's differences from a plain transformer. Source: the
modelling file of each in transformers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tulu_cli.plan.fields import (
    Config,
    FieldError,
    flag,
    number,
    one_size,
    part,
    ratio,
    whole_numbers,
)
from tulu_cli.plan.layers import linear, norm
from tulu_cli.plan.shape import Named
from tulu_cli.text import told


class Tower(NamedTuple):
    """How the layers of an encoder differ from those of CLIP.

    `layers`, `heads` and `width` are the keys of their sizes. With `fused`, queries, keys and
    values are one weight. `network` names the linear layers of the feed-forward network, of which
    three are a gated one.
    """

    at: str
    width: str = "hidden_size"
    layers: str = "num_hidden_layers"
    attention: str = "self_attn"
    output: str = "out_proj"
    fused: bool = False
    qkv_bias: bool = True
    output_bias: bool = True
    network: tuple[str, ...] = ("fc1", "fc2")
    network_bias: bool = True
    norm_bias: bool = True
    inner: str = "intermediate_size"
    gates: tuple[str, ...] = ()


def blocks(vision: Config, tower: Tower, inner: int | None = None) -> list[Named]:
    """Return the layers of a tower, whose feed-forward networks are `inner` wide if given."""
    width, layers = number(vision, tower.width), number(vision, tower.layers, most=1024)
    inner = inner or number(vision, tower.inner)
    at, bias = tower.attention, tower.qkv_bias
    into = ("qkv",) if tower.fused else ("q_proj", "k_proj", "v_proj")
    each: list[Named] = []
    for name in into:
        each += linear(f"{at}.{name}", width * 3 // len(into), width, bias)
    each += linear(f"{at}.{tower.output}", width, width, tower.output_bias)
    *ups, down = tower.network
    for name in ups:
        each += linear(f"mlp.{name}", inner, width, tower.network_bias)
    each += linear(f"mlp.{down}", width, inner, tower.network_bias)
    for name in ("norm1", "norm2"):
        each += norm(name, width, tower.norm_bias)
    each += [(name, (1,)) for name in tower.gates]
    return [(f"{tower.at}.{index}.{name}", size) for index in range(layers) for name, size in each]


def patches(vision: Config) -> int:
    """Return the patches of an image that is read in one size. Raise FieldError for none."""
    side, each = one_size(vision, "image_size"), one_size(vision, "patch_size")
    if side < each:
        raise FieldError(f"has images of {side:,} pixels and patches of {each:,}")
    return (side // each) ** 2


def _patch_weight(vision: Config, name: str, width: int, *, frames: int = 0) -> Named:
    side = one_size(vision, "patch_size")
    depth = (frames,) if frames else ()
    channels = number(vision, "num_channels", number(vision, "in_channels", 3))
    return (f"{name}.weight", (width, channels, *depth, side, side))


_TOWER = "vision_tower"
_CLIP = Tower(f"{_TOWER}.encoder.layers")
_PIXTRAL = Tower(
    f"{_TOWER}.transformer.layers",
    attention="attention",
    output="o_proj",
    qkv_bias=False,
    output_bias=False,
    network=("gate_proj", "up_proj", "down_proj"),
    network_bias=False,
    norm_bias=False,
)
_QWEN2 = Tower(
    "visual.blocks",
    width="embed_dim",
    layers="depth",
    attention="attn",
    output="proj",
    fused=True,
)
_QWEN2_5 = _QWEN2._replace(
    width="hidden_size", network=("gate_proj", "up_proj", "down_proj"), norm_bias=False
)
_QWEN3 = _QWEN2._replace(width="hidden_size", network=("linear_fc1", "linear_fc2"))
_LLAMA4 = Tower("vision_model.model.layers", output="o_proj")
_MLLAMA = Tower(
    "vision_model.transformer.layers", output="o_proj", qkv_bias=False, output_bias=False
)
_MLLAMA_GLOBAL = _MLLAMA._replace(
    at="vision_model.global_transformer.layers",
    layers="num_global_layers",
    gates=("gate_attn", "gate_ffn"),
)
_GLM4V = _QWEN2_5._replace(
    qkv_bias=False, output_bias=False, network_bias=False, inner="out_hidden_size"
)


def clip(vision: Config) -> list[Named]:
    """Return the weights of CLIP's image encoder."""
    width = number(vision, "hidden_size")
    return [
        (f"{_TOWER}.embeddings.class_embedding", (width,)),
        _patch_weight(vision, f"{_TOWER}.embeddings.patch_embedding", width),
        (f"{_TOWER}.embeddings.position_embedding.weight", (patches(vision) + 1, width)),
        *norm(f"{_TOWER}.pre_layrnorm", width, bias=True),
        *blocks(vision, _CLIP),
        *norm(f"{_TOWER}.post_layernorm", width, bias=True),
    ]


def siglip(vision: Config, at: str = _TOWER) -> list[Named]:
    """Return the weights of SigLIP's image encoder, with its head where the config has one."""
    width = number(vision, "hidden_size")
    found = [
        _patch_weight(vision, f"{at}.embeddings.patch_embedding", width),
        (f"{at}.embeddings.patch_embedding.bias", (width,)),
        (f"{at}.embeddings.position_embedding.weight", (patches(vision), width)),
        *_siglip_layers(vision, at),
    ]
    return found if at != _TOWER else [*found, *_siglip_head(vision, at)]


def _siglip_layers(vision: Config, at: str) -> list[Named]:
    return [
        *blocks(vision, _CLIP._replace(at=f"{at}.encoder.layers")),
        *norm(f"{at}.post_layernorm", number(vision, "hidden_size"), bias=True),
    ]


def _siglip_head(vision: Config, at: str) -> list[Named]:
    """Return the head of SigLIP, which its config may leave out."""
    width = number(vision, "hidden_size")
    if vision.get("vision_use_head") is False:
        return []
    inner = number(vision, "intermediate_size")
    return [
        (f"{at}.head.probe", (1, 1, width)),
        (f"{at}.head.attention.in_proj_weight", (3 * width, width)),
        (f"{at}.head.attention.in_proj_bias", (3 * width,)),
        *linear(f"{at}.head.attention.out_proj", width, width, bias=True),
        *norm(f"{at}.head.layernorm", width, bias=True),
        *linear(f"{at}.head.mlp.fc1", inner, width, bias=True),
        *linear(f"{at}.head.mlp.fc2", width, inner, bias=True),
    ]


def pixtral(vision: Config) -> list[Named]:
    """Return the weights of Pixtral's image encoder."""
    width = number(vision, "hidden_size")
    return [
        _patch_weight(vision, f"{_TOWER}.patch_conv", width),
        *norm(f"{_TOWER}.ln_pre", width),
        *blocks(vision, _PIXTRAL),
    ]


_ENCODERS: dict[str, Callable[[Config], list[Named]]] = {
    "clip_vision_model": clip,
    "siglip_vision_model": siglip,
    "pixtral": pixtral,
}


def _encoder(vision: Config) -> list[Named]:
    kind = str(vision.get("model_type"))
    if kind not in _ENCODERS:
        raise FieldError(f"has an image encoder of the type {told(kind)}, which is not known")
    return _ENCODERS[kind](vision)


def parts(whole: Config) -> tuple[Config, int]:
    """Return the image encoder's config and the hidden size of the language model."""
    return part(whole, "vision_config"), number(part(whole, "text_config"), "hidden_size")


def _features(whole: Config) -> int:
    """Return from how many layers of the encoder LLaVA takes its features."""
    chosen = whole.get("vision_feature_layer")
    return len(chosen) if isinstance(chosen, list) else 1


def llava(whole: Config) -> list[Named]:
    """Return the encoder and the projector of LLaVA."""
    vision, hidden = parts(whole)
    width, bias = number(vision, "hidden_size"), flag(whole, "multimodal_projector_bias")
    at = "multi_modal_projector"
    return [
        *_encoder(vision),
        *linear(f"{at}.linear_1", hidden, width * _features(whole), bias),
        *linear(f"{at}.linear_2", hidden, hidden, bias),
    ]


def idle_layers(whole: Config) -> tuple[str, ...]:
    """Return the parts of the encoder of LLaVA that vLLM does not load.

    Those are the layers behind the one whose features are taken, and what follows them:
    _get_num_hidden_layers of llava.py of vLLM 0.33.
    """
    layers = number(part(whole, "vision_config"), "num_hidden_layers", most=1024)
    chosen = whole.get("vision_feature_layer", -2)
    depths = [each + layers + 1 if each < 0 else each for each in _whole_numbers(chosen)]
    behind = range(max(depths, default=layers), layers)
    names = tuple(f"{_TOWER}.encoder.layers.{index}." for index in behind)
    return (*names, f"{_TOWER}.post_layernorm.", f"{_TOWER}.head.")


def _whole_numbers(value: Any) -> list[int]:
    found = value if isinstance(value, list) else [value]
    if not all(type(each) is int for each in found):
        raise FieldError(f"has a vision_feature_layer of {told(value)}")
    return found


def idle_head(_whole: Config) -> tuple[str, ...]:
    """Return the head of SigLIP, which vLLM does not load."""
    return (f"{_TOWER}.head.",)


def llava_next(whole: Config) -> list[Named]:
    """Return the encoder and the projector of LLaVA-NeXT, and its mark of a new line."""
    return [("image_newline", (parts(whole)[1],)), *llava(whole)]


def mistral3(whole: Config) -> list[Named]:
    """Return the encoder and the projector of Mistral 3, which merges patches."""
    vision, hidden = parts(whole)
    width, bias = number(vision, "hidden_size"), flag(whole, "multimodal_projector_bias")
    merged, at = number(whole, "spatial_merge_size") ** 2, "multi_modal_projector"
    return [
        *_encoder(vision),
        *norm(f"{at}.norm", width),
        *linear(f"{at}.patch_merger.merging_layer", width, width * merged),
        *linear(f"{at}.linear_1", hidden, width * _features(whole), bias),
        *linear(f"{at}.linear_2", hidden, hidden, bias),
    ]


def gemma3(whole: Config) -> list[Named]:
    """Return the encoder and the projector of Gemma 3."""
    vision, hidden = parts(whole)
    width, at = number(vision, "hidden_size"), "multi_modal_projector"
    return [
        *siglip(vision),
        (f"{at}.mm_input_projection_weight", (width, hidden)),
        *norm(f"{at}.mm_soft_emb_norm", width),
    ]


def _qwen_merger(name: str, inner: int, out: int) -> list[Named]:
    return [
        *linear(f"visual.merger.{name}0", inner, inner, bias=True),
        *linear(f"visual.merger.{name}2", out, inner, bias=True),
    ]


def qwen2_vl(whole: Config) -> list[Named]:
    """Return the encoder of Qwen2-VL, whose output has the language model's hidden size."""
    vision = part(whole, "vision_config")
    width = number(vision, "embed_dim")
    inner = int(width * ratio(vision, "mlp_ratio", 4))
    merged = width * number(vision, "spatial_merge_size") ** 2
    frames = number(vision, "temporal_patch_size")
    return [
        _patch_weight(vision, "visual.patch_embed.proj", width, frames=frames),
        *blocks(vision, _QWEN2, inner),
        *norm("visual.merger.ln_q", width, bias=True),
        *_qwen_merger("mlp.", merged, number(vision, "hidden_size")),
    ]


def qwen2_5_vl(whole: Config) -> list[Named]:
    """Return the encoder of Qwen2.5-VL."""
    vision = part(whole, "vision_config")
    width = number(vision, "hidden_size")
    merged = width * number(vision, "spatial_merge_size") ** 2
    frames = number(vision, "temporal_patch_size")
    return [
        _patch_weight(vision, "visual.patch_embed.proj", width, frames=frames),
        *blocks(vision, _QWEN2_5),
        *norm("visual.merger.ln_q", width),
        *_qwen_merger("mlp.", merged, number(vision, "out_hidden_size")),
    ]


def qwen3_vl(whole: Config) -> list[Named]:
    """Return the encoder of Qwen3-VL and 3.5, with a merger for each layer that is looked at."""
    vision = part(whole, "vision_config")
    width, out = number(vision, "hidden_size"), number(vision, "out_hidden_size")
    merged = width * number(vision, "spatial_merge_size") ** 2
    frames = one_size(vision, "temporal_patch_size")
    found = [
        _patch_weight(vision, "visual.patch_embed.proj", width, frames=frames),
        ("visual.patch_embed.proj.bias", (width,)),
        ("visual.pos_embed.weight", (number(vision, "num_position_embeddings"), width)),
        *blocks(vision, _QWEN3),
    ]
    deep = whole_numbers(vision, "deepstack_visual_indexes")
    mergers = [("visual.merger", width)]
    mergers += [(f"visual.deepstack_merger_list.{index}", merged) for index in range(len(deep))]
    for at, size in mergers:
        found += norm(f"{at}.norm", size, bias=True)
        found += linear(f"{at}.linear_fc1", merged, merged, bias=True)
        found += linear(f"{at}.linear_fc2", out, merged, bias=True)
    return found


def glm4v(whole: Config) -> list[Named]:
    """Return the encoder of GLM-4.1V, 4.5V and 4.6V."""
    vision = part(whole, "vision_config")
    width, out = number(vision, "hidden_size"), number(vision, "out_hidden_size")
    inner, side = number(vision, "intermediate_size"), number(vision, "spatial_merge_size")
    frames = number(vision, "temporal_patch_size")
    return [
        ("visual.embeddings.position_embedding.weight", (patches(vision), width)),
        _patch_weight(vision, "visual.patch_embed.proj", width, frames=frames),
        ("visual.patch_embed.proj.bias", (width,)),
        *blocks(vision, _GLM4V),
        *linear("visual.merger.proj", out, out),
        *norm("visual.merger.post_projection_norm", out, bias=True),
        *linear("visual.merger.gate_proj", inner, out),
        *linear("visual.merger.up_proj", inner, out),
        *linear("visual.merger.down_proj", out, inner),
        *norm("visual.post_conv_layernorm", width),
        ("visual.downsample.weight", (out, width, side, side)),
        ("visual.downsample.bias", (out,)),
        *norm("visual.post_layernorm", width),
    ]


def llama4(whole: Config) -> list[Named]:
    """Return the encoder and the projector of Llama 4."""
    vision, hidden = parts(whole)
    width, at = number(vision, "hidden_size"), "vision_model"
    channels, side = number(vision, "num_channels"), one_size(vision, "patch_size")
    return [
        (f"{at}.class_embedding", (width,)),
        (f"{at}.positional_embedding_vlm", (patches(vision) + 1, width)),
        *linear(f"{at}.patch_embedding.linear", width, channels * side**2),
        *norm(f"{at}.layernorm_pre", width, bias=True),
        *norm(f"{at}.layernorm_post", width, bias=True),
        *blocks(vision, _LLAMA4),
        *linear(
            f"{at}.vision_adapter.mlp.fc1",
            number(vision, "projector_input_dim"),
            number(vision, "intermediate_size"),
        ),
        *linear(
            f"{at}.vision_adapter.mlp.fc2",
            number(vision, "projector_output_dim"),
            number(vision, "projector_output_dim"),
        ),
        *linear("multi_modal_projector.linear_1", hidden, number(vision, "vision_output_dim")),
    ]


def mllama(whole: Config) -> list[Named]:
    """Return the encoder and the projector of Llama 3.2, and its embeddings of images."""
    vision, hidden = parts(whole)
    width, at = number(vision, "hidden_size"), "vision_model"
    rows, tiles = patches(vision) + 1, number(vision, "max_num_tiles")
    ratios = vision.get("supported_aspect_ratios")
    if not isinstance(ratios, list):
        raise FieldError("has no supported_aspect_ratios")
    kinds = len(ratios) + 1
    looked_at = vision.get("intermediate_layers_indices")
    if not isinstance(looked_at, list):
        raise FieldError("has no intermediate_layers_indices")
    found: list[Named] = [
        (f"{at}.class_embedding", (width,)),
        _patch_weight(vision, f"{at}.patch_embedding", width),
        (f"{at}.gated_positional_embedding.gate", (1,)),
        (f"{at}.gated_positional_embedding.embedding", (rows, width)),
        (f"{at}.gated_positional_embedding.tile_embedding.weight", (kinds, tiles * rows * width)),
        *norm(f"{at}.layernorm_pre", width, bias=True),
        *norm(f"{at}.layernorm_post", width, bias=True),
        *blocks(vision, _MLLAMA),
        *blocks(vision, _MLLAMA_GLOBAL),
        *linear("multi_modal_projector", hidden, width * (1 + len(looked_at)), bias=True),
        ("model.language_model.embed_tokens_of_images.weight", (_MLLAMA_ROWS, hidden)),
    ]
    for part_of in ("pre_tile_positional_embedding", "post_tile_positional_embedding"):
        found.append((f"{at}.{part_of}.gate", (1,)))
        found.append((f"{at}.{part_of}.embedding.weight", (kinds, tiles * width)))
    return found


_MLLAMA_ROWS = 8  # of the embedding, beyond the vocabulary


def idefics3(whole: Config) -> list[Named]:
    """Return the encoder and the connector of Idefics 3 and SmolVLM."""
    vision, hidden = parts(whole)
    merged = number(vision, "hidden_size") * number(whole, "scale_factor") ** 2
    return [
        *siglip(vision, "vision_model"),
        *linear("connector.modality_projection.proj", hidden, merged),
    ]


def internvl(whole: Config) -> list[Named]:
    """Return the encoder and the projector of InternVL."""
    vision, hidden = parts(whole)
    width, at = number(vision, "hidden_size"), f"{_TOWER}.embeddings"
    merged = int(width / ratio(whole, "downsample_ratio", 0.5) ** 2)
    tower = Tower(
        f"{_TOWER}.encoder.layer",
        attention="attention",
        output="projection_layer",
        qkv_bias=flag(vision, "attention_bias"),
    )
    layers, scaled = number(vision, "num_hidden_layers"), ("lambda_1", "lambda_2")
    found: list[Named] = [
        (f"{at}.cls_token", (1, 1, width)),
        _patch_weight(vision, f"{at}.patch_embeddings.projection", width),
        (f"{at}.patch_embeddings.projection.bias", (width,)),
        *blocks(vision, tower),
        *((f"{tower.at}.{index}.{name}", (width,)) for index in range(layers) for name in scaled),
        *norm("multi_modal_projector.layer_norm", merged, bias=True),
        *linear("multi_modal_projector.linear_1", hidden, merged, bias=True),
        *linear("multi_modal_projector.linear_2", hidden, hidden, bias=True),
    ]
    if flag(vision, "use_absolute_position_embeddings"):
        found.append((f"{at}.position_embeddings", (1, patches(vision) + 1, width)))
    return found


def paligemma(whole: Config) -> list[Named]:
    """Return the encoder and the projector of PaliGemma."""
    vision, hidden = parts(whole)
    out = number(vision, "projection_dim", number(whole, "projection_dim", hidden))
    width = number(vision, "hidden_size")
    return [*siglip(vision), *linear("multi_modal_projector.linear", out, width, bias=True)]


def cohere2_vision(whole: Config) -> list[Named]:
    """Return the encoder and the gated projector of Command A Vision."""
    vision, hidden = parts(whole)
    inner = number(whole, "alignment_intermediate_size")
    merged = number(vision, "hidden_size") * number(whole, "downsample_factor") ** 2
    at = "multi_modal_projector"
    return [
        *siglip(vision),
        *linear(f"{at}.linear_1", inner, merged, bias=True),
        *linear(f"{at}.linear_2", hidden, inner // 2, bias=True),
    ]


def lfm2_vl(whole: Config) -> list[Named]:
    """Return the encoder and the projector of LFM2-VL, whose patches come from a linear layer."""
    vision, hidden = parts(whole)
    width, side = number(vision, "hidden_size"), one_size(vision, "patch_size")
    inner, bias = number(whole, "projector_hidden_size"), flag(whole, "projector_bias")
    merged = width * number(whole, "downsample_factor") ** 2
    channels, rows = number(vision, "num_channels", 3), number(vision, "num_patches")
    at = "multi_modal_projector"
    return [
        *linear(f"{_TOWER}.embeddings.patch_embedding", width, channels * side**2, bias=True),
        (f"{_TOWER}.embeddings.position_embedding.weight", (rows, width)),
        *_siglip_layers(vision, _TOWER),
        *_siglip_head(vision, _TOWER),
        *(
            norm(f"{at}.layer_norm", merged, bias=True)
            if whole.get("projector_use_layernorm")
            else []
        ),
        *linear(f"{at}.linear_1", inner, merged, bias),
        *linear(f"{at}.linear_2", hidden, inner, bias),
    ]
