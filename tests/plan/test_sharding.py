"""Which part of each tensor a GPU holds."""

import pytest

from tests.plan.tiny import tiny
from tulu_cli.errors import UsageError
from tulu_cli.plan.sharding import Layout, check_layout, local_size, rank_blocks, stages
from tulu_cli.plan.tensors import Tensor


def local(name: str, size: tuple[int, ...], gpus: int, bits: int = 16) -> int:
    return local_size(Tensor(f"model.layers.0.{name}", size, bits), tiny().shape, gpus)


@pytest.mark.parametrize(
    ("name", "size", "gpus", "expected"),
    [
        ("self_attn.q_proj.weight", (64, 64), 4, 64 * 64 * 2 // 4),
        ("self_attn.q_proj.bias", (64,), 4, 64 * 2 // 4),
        ("self_attn.k_proj.weight", (16, 64), 2, 16 * 64 * 2 // 2),
        # Two heads of keys on eight GPUs: each head is there four times.
        ("self_attn.k_proj.weight", (16, 64), 8, 16 * 64 * 2 // 2),
        ("mlp.down_proj.weight", (64, 160), 4, 64 * 160 * 2 // 4),
        ("mlp.down_proj.bias", (64,), 4, 64 * 2),
        ("mlp.down_proj.weight_scale", (64, 1), 4, 64 * 2),
        ("mlp.up_proj.weight_scale", (160, 1), 4, 160 * 2 // 4),
        ("mlp.up_proj.weight_scale", (1,), 4, 2),
        ("mlp.down_proj.g_idx", (160,), 4, 160 * 2 // 4),
        ("mlp.up_proj.g_idx", (64,), 4, 64 * 2),
        ("input_layernorm.weight", (64,), 4, 64 * 2),
        ("self_attn.sinks", (8,), 4, 8 * 2 // 4),
        ("mamba.in_proj.weight", (64, 32), 4, 64 * 32 * 2 // 4),
        ("mamba.conv1d.weight", (64, 1, 4), 4, 64 * 4 * 2 // 4),
        ("mamba.A_log", (8,), 4, 8 * 2 // 4),
        ("linear_attn.out_proj.weight", (64, 32), 4, 64 * 32 * 2 // 4),
        # A half of 1,440 rows and as many is padded to 128 of each, and 2,880 columns to 3,072.
        ("mlp.experts.gate_up_proj.mxfp4_blocks", (2, 2880, 2880), 2, 2 * 1536 * 3072 * 2),
        ("mlp.experts.gate_up_proj.mxfp4_scales", (2, 2880, 90), 2, 2 * 1536 * 96 * 2),
        ("mlp.experts.down_proj.mxfp4_blocks", (2, 2880, 1440), 2, 2 * 3072 * 768 * 2),
    ],
)
def test_a_tensor_is_cut_as_its_layer_is(
    name: str, size: tuple[int, ...], gpus: int, expected: int
) -> None:
    assert local(name, size, gpus) == expected


def test_the_vocabulary_is_padded_to_64_rows() -> None:
    tensor = Tensor("lm_head.weight", (130, 64), 16)
    assert local_size(tensor, tiny().shape, 2) == 192 * 64 * 2 // 2


@pytest.mark.parametrize(
    ("layers", "pipeline", "expected"),
    [
        (32, 2, [16, 16]),
        (80, 3, [27, 27, 26]),
        (126, 4, [31, 32, 32, 31]),
        (5, 4, [1, 1, 2, 1]),
        (7, 4, [2, 2, 2, 1]),
    ],
)
def test_the_rest_of_the_layers_goes_to_the_middle(
    layers: int, pipeline: int, expected: list[int]
) -> None:
    dealt = stages(layers, pipeline)
    assert [len(stage) for stage in dealt] == expected
    assert [layer for stage in dealt for layer in stage] == list(range(layers))


def test_embedding_and_head_are_on_the_end_stages() -> None:
    model = tiny()
    first, middle, last = (
        rank_blocks(model.tensors, model.shape, Layout(1, 3), stage) for stage in range(3)
    )
    assert "model.embed_tokens.weight" in first
    assert not {"model.embed_tokens.weight", "lm_head.weight"} & set(middle)
    assert {"lm_head.weight", "model.norm.weight"} <= set(last)
    assert "model.embed_tokens.weight" not in last


def test_a_tied_embedding_is_on_both_ends_and_the_head_on_none() -> None:
    model = tiny(tie_word_embeddings=True)
    ends = [rank_blocks(model.tensors, model.shape, Layout(1, 2), stage) for stage in (0, 1)]
    assert all("model.embed_tokens.weight" in end for end in ends)
    assert all("lm_head.weight" not in end for end in ends)


def test_some_architectures_have_both_vocabularies_on_every_stage() -> None:
    model = tiny(architectures=["MixtralForCausalLM"], num_local_experts=4, num_experts_per_tok=2)
    for stage in range(3):
        found = rank_blocks(model.tensors, model.shape, Layout(1, 3), stage)
        assert {"model.embed_tokens.weight", "lm_head.weight"} <= set(found)


def test_a_vocabulary_of_no_rows_takes_nothing() -> None:
    empty = Tensor("lm_head.weight", (0, 64), 16)
    assert local_size(empty, tiny().shape, 2) == 0


def test_all_stages_together_hold_the_whole_model() -> None:
    model = tiny()
    whole = rank_blocks(model.tensors, model.shape, Layout(), 0)
    parts = [rank_blocks(model.tensors, model.shape, Layout(1, 5), stage) for stage in range(5)]
    assert sum(sum(part.values()) for part in parts) == sum(whole.values())


MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "num_local_experts": 6,
    "num_experts_per_tok": 2,
    "intermediate_size": 96,
}


def test_some_models_have_the_whole_vocabulary_on_each_stage() -> None:
    model = tiny(**MIXTRAL)
    for stage in range(3):
        here = rank_blocks(model.tensors, model.shape, Layout(1, 3), stage)
        assert {"model.embed_tokens.weight", "lm_head.weight"} <= set(here)
        assert ("model.norm.weight" in here) is (stage == 2)


@pytest.mark.parametrize(
    ("layout", "experts", "heads"),
    [
        (Layout(2), 3, 2),  # half of each expert weighs as much as half of the experts
        (Layout(2, whole_experts=True), 3, 2),
        (Layout(1, data=3), 2, 1),
        (Layout(1, data=3, whole_experts=True), 2, 1),
        (Layout(4, whole_experts=True), 2, 4),  # two GPUs have two experts, and two have one
        (Layout(2, data=4, whole_experts=True), 1, 2),
    ],
)
def test_replicas_share_the_experts_and_nothing_else(
    layout: Layout, experts: int, heads: int
) -> None:
    model = tiny(**MIXTRAL)
    here = rank_blocks(model.tensors, model.shape, layout, 0)
    expert = 3 * 96 * 64 * 2
    block = [size for name, size in here.items() if name.startswith("model.layers.0.mlp.experts")]
    assert sum(block) == experts * expert
    assert here["model.layers.0.self_attn.o_proj.weight"] == 64 * 64 * 2 // heads


def test_expert_parallel_is_refused_where_there_are_no_experts() -> None:
    check_layout(tiny(**MIXTRAL).shape, Layout(2, whole_experts=True))
    with pytest.raises(UsageError, match="--enable-expert-parallel"):
        check_layout(tiny().shape, Layout(2, whole_experts=True))


@pytest.mark.parametrize(
    ("layout", "problem"),
    [(Layout(3), "8 attention heads"), (Layout(1, 6), "5 layers")],
)
def test_a_layout_that_vllm_refuses_is_refused(layout: Layout, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        check_layout(tiny().shape, layout)


def test_heads_of_keys_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="6 heads of keys"):
        check_layout(
            tiny(num_attention_heads=12, num_key_value_heads=6, head_dim=8).shape, Layout(4)
        )
