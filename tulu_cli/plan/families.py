"""The architectures beside Llama's nearest relatives, one row each: how each differs.

A row is added by reading the modelling file of that name in transformers. Where it needs a layer of
its own, a function of hybrids.py or variants.py reads it from the config.
"""

from typing import Any

from tulu_cli.plan import encoders as see
from tulu_cli.plan import hybrids, images, variants
from tulu_cli.plan.decoder import (
    Architecture,
    Sparse,
    deepseek_experts,
    each_nth_full,
    every_sliding,
    experts_of,
    is_qwen_sparse,
    is_sparse_by_type,
    mixtral_experts,
    qwen_experts,
    upper_sliding,
)
from tulu_cli.plan.hybrids import LINEAR
from tulu_cli.plan.layers import Attention, Mixture
from tulu_cli.plan.older import OLDER
from tulu_cli.plan.shape import Layer

_NOTHING = Layer(())
_HEAD = Attention(head_norm="head")
_WHOLE = Attention(head_norm="full")
_GATED = Attention(head_norm="head", gate="query")
_CORRECTED = Mixture(correction=True)
_DEEPSEEK = Sparse(deepseek_experts)
_DEEPSEEK_3 = Sparse(deepseek_experts, _CORRECTED)
_QWEN_SHARED = Sparse(
    experts_of(shared_width="shared_expert_intermediate_size"),
    Mixture(shared="shared_expert", shared_gate=True),
    is_qwen_sparse,
)
_GEMMA = Architecture(norms=4, tied=True, whole_vocabulary=True)
_GEMMA3 = _GEMMA._replace(how=_HEAD, ropes=2, kinds=each_nth_full(6))
_GEMMA3N = Architecture(
    attend=variants.gemma_attention,
    feed_forward=variants.gemma3n_network,
    beside=variants.gemma3n_beside,
    back=variants.gemma3n_back,
    kinds=each_nth_full(5),
    norms=4,
    ropes=2,
    tied=True,
)
_GEMMA4 = Architecture(
    attend=variants.gemma_attention,
    feed_forward=variants.gemma4_network,
    beside=variants.gemma4_beside,
    back=variants.per_layer_inputs,
    kinds=variants.last_full(6),
    norms=4,
    ropes=2,
    tied=True,
)
_GRANITE_EXPERTS = Sparse(
    experts_of("num_local_experts", width="intermediate_size"),
    Mixture(router="router", name="block_sparse_moe"),
)
_QWEN3_NEXT = Architecture(
    how=_GATED,
    kinds=hybrids.each_nth_attends(4, "full_attention_interval"),
    mixers={LINEAR: lambda config: hybrids.qwen_delta_net(config, joined_inputs=True)},
    sparse=_QWEN_SHARED,
)
_QWEN3_5 = _QWEN3_NEXT._replace(
    mixers={LINEAR: lambda config: hybrids.qwen_delta_net(config, joined_inputs=False)}, sparse=None
)
_QWEN3_5_MOE = _QWEN3_5._replace(sparse=_QWEN_SHARED._replace(layers=None))
_QWEN3 = Architecture(how=_HEAD, kinds=upper_sliding)
_LLAMA4 = Architecture(
    output_bias="attention_bias",
    kinds=variants.llama4_kinds,
    sparse=Sparse(
        variants.llama4_experts,
        Mixture(router="router", shared="shared_expert", name="feed_forward"),
        variants.is_llama4_sparse,
    ),
    feed_forward=variants.llama4_network,
)
_MISTRAL = Architecture(kinds=every_sliding)
_LFM2 = Architecture(
    how=Attention(head_norm="head", output="out_proj"),
    qkv_bias=False,
    output_bias=False,
    kinds=hybrids.lfm2_kinds,
    mixers={"conv": hybrids.lfm2_convolution},
    feed_forward=hybrids.lfm2_network,
    tied=True,
)
_GLM4_MOE = Architecture(output_bias=False, head_norm="use_qk_norm", sparse=_DEEPSEEK_3)
_INDEXED = Architecture(
    attend=variants.indexed_attention,
    latent=True,
    sparse=Sparse(deepseek_experts, _CORRECTED, is_sparse_by_type),
)
_SEES: dict[str, Any] = {"text": "text_config", "prefix": "model.language_model"}
_QWEN2_VL = Architecture(qkv_bias=True, kinds=upper_sliding, **_SEES)
# The language models that may stand behind any encoder, by their model_type.
_TEXTS = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "cohere2": "Cohere2ForCausalLM",
    "cohere2_moe": "Cohere2MoeForCausalLM",
    "lfm2": "Lfm2ForCausalLM",
    "lfm2_moe": "Lfm2MoeForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "kimi_k2": "DeepseekV3ForCausalLM",
    "exaone4": "Exaone4ForCausalLM",
    "internlm2": "InternLM2ForCausalLM",
}
FAMILIES: dict[str, Architecture] = {
    # Ai2
    "OlmoForCausalLM": Architecture(norms=0, final_norm=False),
    "Olmo2ForCausalLM": Architecture(how=_WHOLE),
    "Olmo3ForCausalLM": Architecture(how=_WHOLE, kinds=each_nth_full(4)),
    "OlmoeForCausalLM": Architecture(
        how=_WHOLE, sparse=Sparse(experts_of(width="intermediate_size"))
    ),
    "FlexOlmoForCausalLM": Architecture(
        how=_WHOLE, sparse=Sparse(experts_of(width="intermediate_size"))
    ),
    "OlmoHybridForCausalLM": Architecture(
        how=_WHOLE,
        kinds=hybrids.each_nth_attends(4, "full_attention_interval"),
        mixers={LINEAR: hybrids.olmo_delta_net},
    ),
    # Google
    "GemmaForCausalLM": Architecture(tied=True),
    "Gemma2ForCausalLM": _GEMMA._replace(kinds=each_nth_full(2)),
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3nForCausalLM": _GEMMA3N,
    "Gemma4ForCausalLM": _GEMMA4,
    # Alibaba
    "Qwen2MoeForCausalLM": Architecture(qkv_bias=True, kinds=upper_sliding, sparse=_QWEN_SHARED),
    "Qwen3NextForCausalLM": _QWEN3_NEXT,
    "Qwen3_5ForCausalLM": _QWEN3_5,
    "Qwen3_5MoeForCausalLM": _QWEN3_5_MOE,
    # Mistral
    "MinistralForCausalLM": _MISTRAL,
    "Ministral3ForCausalLM": _MISTRAL,
    # Meta
    "Llama4ForCausalLM": _LLAMA4,
    # Microsoft
    "PhiForCausalLM": Architecture(
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        how=Attention(output="dense"),
        feed="plain",
        norms=1,
        norm_bias=True,
        head_bias=True,
    ),
    "Phi3ForCausalLM": Architecture(
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        how=Attention(fused=True),
        feed="fused",
        kinds=every_sliding,
    ),
    "PhimoeForCausalLM": Architecture(
        kinds=every_sliding,
        sparse=Sparse(mixtral_experts, Mixture(router="router")),
        norm_bias=True,
        head_bias="lm_head_bias",
    ),
    # DeepSeek, Moonshot, Zhipu
    "DeepseekV2ForCausalLM": Architecture(latent=True, sparse=_DEEPSEEK),
    "DeepseekV3ForCausalLM": Architecture(latent=True, sparse=_DEEPSEEK_3),
    "DeepseekV32ForCausalLM": _INDEXED,
    "GlmMoeDsaForCausalLM": _INDEXED,
    "KimiLinearForCausalLM": Architecture(
        kinds=hybrids.kimi_kinds,
        mixers={LINEAR: hybrids.kimi_delta},
        latent=True,
        sparse=Sparse(
            experts_of(active="num_experts_per_token", shared="num_shared_experts"),
            _CORRECTED,
            is_sparse_by_type,
        ),
    ),
    "GlmForCausalLM": Architecture(output_bias=False, feed="fused"),
    "ChatGLMModel": Architecture(
        output_bias=False,
        feed="fused",
        renamed={
            "num_hidden_layers": "num_layers",
            "num_key_value_heads": "multi_query_group_num",
            "intermediate_size": "ffn_hidden_size",
            "head_dim": "kv_channels",
            "vocab_size": "padded_vocab_size",
            "max_position_embeddings": "seq_length",
            "attention_bias": "add_qkv_bias",
        },
    ),
    "Glm4ForCausalLM": Architecture(output_bias=False, feed="fused", norms=4),
    "Glm4MoeForCausalLM": _GLM4_MOE,
    "Glm4MoeLiteForCausalLM": Architecture(
        latent=True, sparse=Sparse(deepseek_experts, _CORRECTED, is_sparse_by_type)
    ),
    # IBM
    "GraniteForCausalLM": Architecture(),
    "GraniteSWAForCausalLM": Architecture(how=Attention(sinks=True), tied=True),
    "GraniteMoeForCausalLM": Architecture(sparse=_GRANITE_EXPERTS),
    "GraniteMoeSharedForCausalLM": Architecture(
        sparse=_GRANITE_EXPERTS, beside=hybrids.granite_shared
    ),
    "GraniteMoeHybridForCausalLM": Architecture(
        mixers={LINEAR: hybrids.mamba2_of},
        sparse=_GRANITE_EXPERTS,
        feed_forward=lambda _config, _index: _NOTHING,
        beside=hybrids.granite_shared,
    ),
    "BambaForCausalLM": Architecture(kinds=hybrids.bamba_kinds, mixers={LINEAR: hybrids.mamba2_of}),
    # Others
    "GptOssForCausalLM": Architecture(
        how=Attention(sinks=True),
        kinds=each_nth_full(2),
        sparse=Sparse(mixtral_experts, Mixture(router="router", router_bias=True, biased=True)),
    ),
    "NemotronForCausalLM": Architecture(feed="plain", norm_bias=True),
    "NemotronHForCausalLM": Architecture(
        layers=hybrids.nemotron_h, sparse=Sparse(hybrids.nemotron_h_experts)
    ),
    "FalconH1ForCausalLM": Architecture(attend=hybrids.falcon_h1_attention),
    "JambaForCausalLM": Architecture(
        qkv_bias=False,
        output_bias=False,
        kinds=hybrids.jamba_kinds,
        mixers={LINEAR: hybrids.jamba_mamba},
        sparse=Sparse(
            experts_of(width="intermediate_size"), Mixture(router="router"), hybrids.is_jamba_sparse
        ),
    ),
    "Lfm2ForCausalLM": _LFM2,
    "Lfm2MoeForCausalLM": _LFM2._replace(
        sparse=Sparse(experts_of(first="num_dense_layers"), Mixture(correction=True)),
        feed_forward=None,
    ),
    "SeedOssForCausalLM": Architecture(output_bias="attention_out_bias"),
    "MiniMaxM2ForCausalLM": Architecture(
        qkv_bias=False,
        output_bias=False,
        how=_WHOLE,
        sparse=Sparse(mixtral_experts, _CORRECTED),
    ),
    "CohereForCausalLM": Architecture(norms=1, tied=True, full_norm="use_qk_norm"),
    "Cohere2ForCausalLM": Architecture(norms=1, tied=True, kinds=each_nth_full(4)),
    "SmolLM3ForCausalLM": Architecture(tied=True),
    "Starcoder2ForCausalLM": Architecture(
        qkv_bias="use_bias",
        output_bias="use_bias",
        mlp_bias="use_bias",
        kinds=every_sliding,
        feed="plain",
        norm_bias=True,
        tied=True,
    ),
    "StableLmForCausalLM": Architecture(qkv_bias="use_qkv_bias", output_bias=False, norm_bias=True),
    "Exaone4ForCausalLM": Architecture(
        qkv_bias=False, output_bias=False, how=_HEAD, kinds=each_nth_full(4)
    ),
    "ExaoneMoeForCausalLM": Architecture(
        qkv_bias=False,
        output_bias=False,
        how=_HEAD,
        kinds=each_nth_full(4),
        sparse=Sparse(experts_of(shared="num_shared_experts"), _CORRECTED, is_sparse_by_type),
    ),
    "Ernie4_5ForCausalLM": Architecture(
        qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias", tied=True
    ),
    "Ernie4_5_MoeForCausalLM": Architecture(
        qkv_bias="use_bias",
        output_bias="use_bias",
        mlp_bias="use_bias",
        tied=True,
        sparse=Sparse(
            experts_of("moe_num_experts", "moe_k", shared="moe_num_shared_experts"),
            _CORRECTED,
            variants.is_ernie_sparse,
        ),
    ),
    "HunYuanDenseV1ForCausalLM": Architecture(how=_HEAD),
    "ApertusForCausalLM": Architecture(how=_HEAD, feed="plain", beside=variants.apertus_activation),
    "ArceeForCausalLM": Architecture(feed="plain"),
    "Dots1ForCausalLM": Architecture(how=_HEAD, sparse=_DEEPSEEK_3, kinds=upper_sliding),
    "SolarOpenForCausalLM": Architecture(
        output_bias=False,
        head_norm="use_qk_norm",
        sparse=Sparse(experts_of("n_routed_experts", shared="n_shared_experts"), _CORRECTED),
    ),
    "AfmoeForCausalLM": Architecture(
        how=Attention(head_norm="head", gate="value"),
        kinds=each_nth_full(4, "global_attn_every_n_layers"),
        norms=4,
        sparse=Sparse(
            experts_of(shared="num_shared_experts", first="num_dense_layers"), _CORRECTED
        ),
    ),
    "HYV3ForCausalLM": Architecture(
        how=_HEAD,
        sparse=Sparse(experts_of(shared="num_shared_experts"), _CORRECTED, is_sparse_by_type),
    ),
    "Jais2ForCausalLM": Architecture(feed="plain", norm_bias=True),
    "YoutuForCausalLM": Architecture(latent=True, tied=True),
    "MiniCPM3ForCausalLM": Architecture(latent=True, tied=True),
    "CwmForCausalLM": Architecture(qkv_bias=False, output_bias=False, kinds=each_nth_full(4)),
    "VaultGemmaForCausalLM": Architecture(tied=True, kinds=each_nth_full(2)),
    "HyperCLOVAXForCausalLM": Architecture(beside=variants.norms_behind),
    "HunYuanMoEV1ForCausalLM": Architecture(
        how=_HEAD,
        sparse=Sparse(variants.hunyuan_experts, Mixture(router="gate.wg", shared="shared_mlp")),
    ),
    "MiMoV2FlashForCausalLM": Architecture(
        attend=variants.mimo_attention,
        kinds=variants.mimo_kinds,
        sparse=Sparse(experts_of("n_routed_experts"), _CORRECTED, variants.is_mimo_sparse),
    ),
    "MellumForCausalLM": Architecture(
        how=_HEAD,
        kinds=each_nth_full(4),
        sparse=Sparse(experts_of()),
    ),
    "AXK1ForCausalLM": Architecture(
        latent=True,
        sparse=Sparse(deepseek_experts, _CORRECTED, is_sparse_by_type),
        beside=variants.axk1_norm,
    ),
    "LagunaForCausalLM": Architecture(
        attend=variants.laguna_attention,
        kinds=each_nth_full(4),
        sparse=Sparse(
            experts_of(shared_width="shared_expert_intermediate_size"),
            _CORRECTED,
            is_sparse_by_type,
        ),
    ),
    "GraniteMoeSWAForCausalLM": Architecture(
        how=Attention(sinks=True), sparse=_GRANITE_EXPERTS, beside=hybrids.granite_shared
    ),
    "Cohere2MoeForCausalLM": Architecture(
        norms=1,
        tied=True,
        kinds=each_nth_full(4),
        sparse=Sparse(
            experts_of(width="intermediate_size", shared="num_shared_experts"),
            layers=is_sparse_by_type,
        ),
    ),
    # Models that see: the rows above, with an encoder before them.
    "LlavaForConditionalGeneration": Architecture(
        front=see.llava, images=images.llava, idle=see.idle_layers, texts=_TEXTS, **_SEES
    ),
    "LlavaNextForConditionalGeneration": Architecture(
        front=see.llava_next,
        images=images.llava_next,
        idle=see.idle_layers,
        texts=_TEXTS,
        **_SEES,
    ),
    "LlavaOnevisionForConditionalGeneration": Architecture(
        front=see.llava_next,
        images=images.llava_onevision,
        idle=see.idle_layers,
        texts=_TEXTS,
        **_SEES,
    ),
    "Mistral3ForConditionalGeneration": Architecture(
        front=see.mistral3, images=images.mistral3, idle=see.idle_layers, texts=_TEXTS, **_SEES
    ),
    "Gemma3ForConditionalGeneration": _GEMMA3._replace(
        front=see.gemma3, images=images.gemma3, idle=see.idle_head, **_SEES
    ),
    "Qwen2VLForConditionalGeneration": _QWEN2_VL._replace(
        front=see.qwen2_vl, images=images.qwen2_vl
    ),
    "Qwen2_5_VLForConditionalGeneration": _QWEN2_VL._replace(
        front=see.qwen2_5_vl, images=images.qwen2_5_vl
    ),
    "Qwen3VLForConditionalGeneration": _QWEN3._replace(
        front=see.qwen3_vl, images=images.qwen3_vl, **_SEES
    ),
    "Qwen3VLMoeForConditionalGeneration": _QWEN3._replace(
        front=see.qwen3_vl,
        images=images.qwen3_vl,
        sparse=Sparse(qwen_experts, layers=is_qwen_sparse),
        **_SEES,
    ),
    "Qwen3_5ForConditionalGeneration": _QWEN3_5._replace(
        front=see.qwen3_vl, images=images.qwen3_vl, **_SEES
    ),
    "Qwen3_5MoeForConditionalGeneration": _QWEN3_5_MOE._replace(
        front=see.qwen3_vl, images=images.qwen3_vl, **_SEES
    ),
    "Llama4ForConditionalGeneration": _LLAMA4._replace(
        front=see.llama4, images=images.llama4, **_SEES
    ),
    "MllamaForConditionalGeneration": Architecture(
        qkv_bias=False,
        output_bias=False,
        mlp_bias=False,
        kinds=variants.cross_kinds,
        mixers={variants.CROSS: variants.cross_attention},
        front=see.mllama,
        **_SEES,
    ),
    "PaliGemmaForConditionalGeneration": Architecture(
        front=see.paligemma, images=images.paligemma, idle=see.idle_head, texts=_TEXTS, **_SEES
    ),
    "Cohere2VisionForConditionalGeneration": Architecture(
        front=see.cohere2_vision, idle=see.idle_head, texts=_TEXTS, **_SEES
    ),
    "Lfm2VlForConditionalGeneration": Architecture(
        front=see.lfm2_vl, idle=see.idle_head, texts=_TEXTS, **_SEES
    ),
    # Encoders whose sizes config.json does not have.
    "Gemma3nForConditionalGeneration": _GEMMA3N._replace(partial=True, **_SEES),
    "Gemma4ForConditionalGeneration": _GEMMA4._replace(partial=True, **_SEES),
    "KimiK25ForConditionalGeneration": Architecture(partial=True, texts=_TEXTS, **_SEES),
    "KimiVLForConditionalGeneration": Architecture(partial=True, texts=_TEXTS, **_SEES),
    "Exaone4_5_ForConditionalGeneration": Architecture(partial=True, texts=_TEXTS, **_SEES),
    "LightOnOCRForConditionalGeneration": Architecture(partial=True, texts=_TEXTS, **_SEES),
    "InternVLChatModel": Architecture(
        partial=True, texts=_TEXTS, text="llm_config", prefix="language_model.model"
    ),
    "Glm4vForConditionalGeneration": Architecture(
        qkv_bias=True, output_bias=False, feed="fused", norms=4, front=see.glm4v, **_SEES
    ),
    "Glm4vMoeForConditionalGeneration": _GLM4_MOE._replace(front=see.glm4v, **_SEES),
    "InternVLForConditionalGeneration": Architecture(front=see.internvl, texts=_TEXTS, **_SEES),
    "Idefics3ForConditionalGeneration": Architecture(front=see.idefics3, texts=_TEXTS, **_SEES),
    "SmolVLMForConditionalGeneration": Architecture(front=see.idefics3, texts=_TEXTS, **_SEES),
}

FAMILIES |= OLDER
# Other names of the same layers: those of older files, and classes that vLLM serves by another's
# code (model_executor/models/registry.py of 0.33).
FAMILIES |= {
    "LLaMAForCausalLM": Architecture(),
    "IQuestCoderForCausalLM": Architecture(),
    "SolarForCausalLM": Architecture(),
    "TeleChat3ForCausalLM": Architecture(),
    "InternLM3ForCausalLM": FAMILIES["SeedOssForCausalLM"]._replace(
        renamed={"attention_bias": "qkv_bias", "attention_out_bias": "bias"}
    ),
    "ChatGLMForConditionalGeneration": FAMILIES["ChatGLMModel"],
    "MiMoForCausalLM": Architecture(qkv_bias=True, kinds=upper_sliding),
    "PhiMoEForCausalLM": FAMILIES["PhimoeForCausalLM"],
    "ExaoneForCausalLM": Architecture(renamed={"num_hidden_layers": "num_layers"}),
    "InternLM2ForCausalLM": Architecture(renamed={"attention_bias": "bias"}),
    "ExaoneMoEForCausalLM": FAMILIES["ExaoneMoeForCausalLM"],
}
