"""The model card of the Tülu 3 models as data: its text, its tables and its training settings.

Each fact is in a TOML file beside this one, with its source. Only the best scores are computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tulu_cli.errors import TuluError
from tulu_cli.models.family import FamilyModel, family_model


@dataclass(frozen=True, slots=True)
class Card:
    """The text of the card. `links` maps titles to URLs; `source` is where it was published."""

    source: str
    description: str
    model_type: str
    languages: str
    license: str
    license_and_use: tuple[str, ...]
    limits: str
    system_prompt_note: str
    context_note: str
    prompt_format: str
    prompt_format_note: str
    end_token: str
    end_token_id: int
    citation: str
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """One benchmark, its setting, and the score of each model of the table in percent."""

    benchmark: str
    setting: str
    scores: tuple[float, ...]

    @property
    def best(self) -> tuple[bool, ...]:
        """True for each score that none exceeds: several may be the best."""
        return tuple(score == max(self.scores) for score in self.scores)


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """The evaluation table of one model size; the models with aliases `ours` come first."""

    size: str
    models: tuple[str, ...]
    ours: tuple[str, ...]
    rows: tuple[BenchmarkRow, ...]


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One setting of the training: `name` and `text` for people, `key` and `value` for programs."""

    name: str
    text: str
    key: str
    value: Any


@cache
def card() -> Card:
    """Return the card."""
    document = dict(read_table("card.toml"))
    del document["trained_from"]
    document["license_and_use"] = tuple(document["license_and_use"])
    texts = {"prompt_format": document["prompt_format"], "citation": document["citation"]}
    return Card(**document | {name: text.strip("\n") for name, text in texts.items()})


def lineage(model: FamilyModel) -> tuple[str, ...]:
    """Return the repositories that a model was trained from, the base model first, itself last."""
    trained_from = read_table("card.toml")["trained_from"]
    chain = [model]
    while chain[0].alias in trained_from:
        parent = family_model(trained_from[chain[0].alias])
        assert parent, "card.toml names models of family.py"
        chain.insert(0, parent)
    return (chain[0].base, *(step.repository for step in chain))


def benchmarks(model: FamilyModel) -> Benchmarks:
    """Return the evaluation table with a model in it. Raise TuluError if the card has none."""
    for table in read_table("benchmarks.toml")["table"]:
        if model.alias in table["ours"]:
            rows = tuple(
                BenchmarkRow(**row | {"scores": tuple(row["scores"])}) for row in table["row"]
            )
            return Benchmarks(table["size"], tuple(table["models"]), tuple(table["ours"]), rows)
    raise TuluError(
        f"The model card has no evaluation table with {model.alias} in it, only those of the 8B "
        f"and 70B models and their SFT and DPO stages: look at {page(model)}."
    )


def hyperparameters(model: FamilyModel) -> tuple[Hyperparameter, ...]:
    """Return the settings of a model's RLVR stage. Raise TuluError if the card has none."""
    document = read_table("hyperparameters.toml")
    if model.alias not in document["aliases"]:
        raise TuluError(
            f"The model card has no training settings for {model.alias}, only those of the RLVR "
            f"stage of 8b and 70b: look at {page(model)}."
        )
    return tuple(Hyperparameter(**row) for row in document["setting"])


def page(model: FamilyModel) -> str:
    """Return the URL of a model's own card."""
    return f"https://huggingface.co/{model.repository}"


@cache
def read_table(name: str) -> dict[str, Any]:
    """Read a TOML file of this package. The result is shared: do not change it."""
    import tomllib

    # importlib.resources would load zipfile and tempfile, for a file that lies beside this one.
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))
