"""Blocks, groups of layers, and what a request holds."""

import pytest

from tests.plan.tiny import tiny
from tulu_cli.plan.kv import Group, cache_of, token_bytes
from tulu_cli.plan.sharding import Layout


def test_a_token_is_keys_and_values_of_each_head_that_is_here() -> None:
    (keys,) = tiny().shape.decoder[0].kept
    assert token_bytes(keys, 1, "bfloat16") == 2 * 2 * 8 * 2
    assert token_bytes(keys, 2, "bfloat16") == 2 * 1 * 8 * 2
    assert token_bytes(keys, 8, "bfloat16") == 2 * 1 * 8 * 2  # a head is never cut
    assert token_bytes(keys, 1, "fp8") == 2 * 2 * 8


def test_latent_attention_keeps_one_vector_on_every_gpu() -> None:
    latent = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
    }
    (vector,) = tiny(**latent).shape.decoder[0].kept
    assert token_bytes(vector, 1, "bfloat16") == token_bytes(vector, 4, "bfloat16") == 576 * 2


@pytest.mark.parametrize(("tokens", "blocks"), [(1, 1), (16, 1), (17, 2), (8192, 512)])
def test_a_request_takes_whole_blocks(tokens: int, blocks: int) -> None:
    assert Group(16).request_blocks(tokens, 2048) == blocks


def test_a_window_holds_itself_and_the_batch_and_a_part_of_a_block() -> None:
    assert Group(16, window=4096).request_blocks(100_000, 2048) == (4095 + 2048 + 15) // 16 + 1
    assert Group(16, window=4096).request_blocks(64, 2048) == 5


def test_two_kinds_of_layers_share_one_pool() -> None:
    kinds = ["sliding_attention"] * 4 + ["full_attention"]
    shape = tiny(layer_types=kinds, sliding_window=32).shape
    (cache,) = cache_of(shape, Layout(), dtype="bfloat16", block_size=16)
    assert sorted((group.window for group in cache.groups), key=str) == [32, 32, 32, 32, None]
    assert cache.block_bytes == 16 * token_bytes(
        shape.decoder[0].kept[0], 1, "bfloat16"
    )  # one layer a group
    (plain,) = cache_of(shape, Layout(), dtype="bfloat16", block_size=16, hybrid=False)
    assert plain.groups == (Group(16),)
    assert plain.block_bytes == 5 * cache.block_bytes


def test_each_stage_pays_for_its_own_layers() -> None:
    caches = cache_of(tiny().shape, Layout(1, 2), dtype="bfloat16", block_size=16)
    assert [cache.block_bytes for cache in caches] == [16 * 64 * 3, 16 * 64 * 2]
