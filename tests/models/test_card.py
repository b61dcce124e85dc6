"""Every fact of the card's data files, against the text of the card itself."""

import re
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.errors import TuluError
from tulu_cli.models import FAMILY, TULU_SYSTEM_PROMPT
from tulu_cli.models.card import Benchmarks, benchmarks, card, hyperparameters, lineage, read_table
from tulu_cli.models.family import FamilyModel, family_model

TEXT = (Path(__file__).parent / "data/tulu3_70b_card.txt").read_text(encoding="utf-8")
LINES = TEXT.splitlines()
# Where the card lies beside a checkout, the copy must be that one.
ORIGINAL = Path(__file__).parents[3] / "shared/seeds/000_ac0afdf43e2feec1.txt"
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def model(alias: str) -> FamilyModel:
    found = family_model(alias)
    assert found
    return found


def card_tables() -> list[tuple[str, list[tuple[str, str, tuple[float, ...]]]]]:
    """The evaluation tables in the text: the header's names, and the rows as far as they go."""
    tables = []
    for number, line in enumerate(LINES):
        if line.startswith("Benchmark (eval) "):
            rows = []
            for text in LINES[number + 1 :]:
                found = re.fullmatch(r"(.+?)(?: \((.*)\))?((?: \d+\.\d)+)", text)
                if not found:
                    break
                scores = tuple(map(float, found[3].split()))
                rows.append((found[1], found[2] or "", scores))
            tables.append((line.removeprefix("Benchmark (eval) "), rows))
    return tables


def numbers(text: str) -> list[float]:
    """The numbers in a text of the card, powers of ten and thousands included."""
    text = re.sub(r"(\d+) × 10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", lambda m: f"{m[1]}e{m[2]}", text)
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text.translate(SUPERSCRIPTS))
    return [float(number.replace(",", "").rstrip(",")) for number in found]


def flat(value: Any) -> list[float]:
    """The numbers in a value of the data file."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in flat(item)]
    if isinstance(value, list):
        return [number for item in value for number in flat(item)]
    return [] if isinstance(value, str) else [float(value)]


def joined(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the card does not lie beside this checkout")
def test_the_copy_is_the_card() -> None:
    assert ORIGINAL.read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize(("alias", "number"), [("8b", 0), ("70b", 1)])
def test_every_number_of_the_tables(alias: str, number: int) -> None:
    table: Benchmarks = benchmarks(model(alias))
    names, rows = card_tables()[number]
    assert " ".join(table.models) == names
    assert len(rows) == 13
    assert [(row.benchmark, row.setting, row.scores) for row in table.rows] == rows
    assert {len(row.scores) for row in table.rows} == {len(table.models)}


def test_the_card_has_two_tables_and_so_have_we() -> None:
    assert len(card_tables()) == len(read_table("benchmarks.toml")["table"]) == 2
    assert sum(len(rows) * len(rows[0][2]) for _, rows in card_tables()) == 13 * (8 + 7)


def test_our_columns_are_our_models() -> None:
    for table in read_table("benchmarks.toml")["table"]:
        for alias, name in zip(table["ours"], table["models"], strict=False):
            size, _, stage = alias.upper().partition("-")
            assert {"Tülu", "3", size, *filter(None, [stage])} == set(name.split())
        assert not any(name.startswith("Tülu") for name in table["models"][len(table["ours"]) :])


def test_all_of_the_best_are_the_best() -> None:
    popqa = benchmarks(model("8b")).rows[2]
    assert popqa.benchmark == "PopQA"
    assert popqa.best == (True, True, *[False] * 6)
    assert [sum(row.best) for row in benchmarks(model("70b")).rows] == [1] * 13


def test_every_hyperparameter() -> None:
    start = LINES.index("PPO settings for RLVR:")
    bullets = [line.strip(" •") for line in LINES[start + 1 : LINES.index("License and use")]]
    told = [tuple(line.split(": ", 1)) for line in bullets if line]
    ours = hyperparameters(model("70b"))
    assert [(row.name, row.text) for row in ours] == told
    assert len(ours) == 18
    for row in ours:
        assert flat(row.value) == pytest.approx(numbers(row.text), rel=1e-12), row.name
        assert flat(row.value) or row.value == row.text.lower()
    assert len({row.key for row in ours}) == len(ours)


def test_the_citation() -> None:
    start = LINES.index("@article{lambert2024tulu3,")
    told = "\n".join(LINES[start : LINES.index("}", start) + 1])
    # The page hides the address from robots; it is in the README that the page is made from.
    told = told.replace("[email\N{NO-BREAK SPACE}protected]", "tulu@allenai.org")
    assert joined(card().citation) == joined(told)
    assert card().citation.count(" and\n") == 22


def test_the_system_prompt() -> None:
    start = LINES.index("In Ai2 demos, we use this system prompt by default:")
    assert LINES[start + 2] == TULU_SYSTEM_PROMPT
    demo, trained = card().system_prompt_note.split(". ", 1)
    assert LINES[start] == f"{demo}:"
    assert LINES[start + 4] == trained


def test_the_words() -> None:
    text = joined(TEXT)
    for words in (
        card().description,
        f"Model type: {card().model_type}",
        f"Language(s) (NLP): {card().languages}",
        f"License: {card().license}",
        *card().license_and_use,
        card().limits,
        card().context_note,
        joined(card().prompt_format),
    ):
        assert words in text
    assert card().prompt_format in TEXT
    assert "Finetuned from model: allenai/Llama-3.1-Tulu-3-70B-DPO" in text


def test_the_end_token_is_not_the_cards() -> None:
    assert card().prompt_format.endswith("<|endoftext|>")
    for fact in ("<|endoftext|>", card().end_token, str(card().end_token_id)):
        assert fact in card().prompt_format_note


def test_where_a_model_comes_from() -> None:
    assert lineage(model("70b")) == (
        "meta-llama/Llama-3.1-70B",
        "allenai/Llama-3.1-Tulu-3-70B-SFT",
        "allenai/Llama-3.1-Tulu-3-70B-DPO",
        "allenai/Llama-3.1-Tulu-3-70B",
    )
    for row in FAMILY:
        steps = lineage(row)
        assert (steps[0], steps[-1]) == (row.base, row.repository)
        assert len(steps) == {"SFT": 2, "DPO": 3, "RM": 3, "RLVR": 4}[row.stage] - (
            row.alias == "demo"
        )
    assert lineage(model("8b-rm"))[1] == "allenai/Llama-3.1-Tulu-3-8B-SFT"


@pytest.mark.parametrize("alias", ["405b", "405b-sft", "3.1-8b", "8b-rm", "demo"])
def test_what_the_card_does_not_say_is_not_made_up(alias: str) -> None:
    for read in (benchmarks, hyperparameters):
        with pytest.raises(TuluError, match=f"The model card has no .* {alias}.*huggingface.co"):
            read(model(alias))


def llama(
    layers: int, hidden: int, inner: int, keys: int, vocabulary: int, *, shared: bool = False
) -> int:
    """The weights of a Llama: attention, feed-forward, norms, and the two ends of it."""
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner + 2 * hidden
    return layers * layer + hidden + (1 if shared else 2) * vocabulary * hidden


def test_the_parameters_are_those_of_the_shapes() -> None:
    eight = llama(32, 4096, 14336, 1024, 128264)
    counts = {
        ("8B", False): eight,
        ("8B", True): eight - 128264 * 4096 + 4096,
        ("70B", False): llama(80, 8192, 28672, 1024, 128264),
        ("405B", False): llama(126, 16384, 53248, 1024, 128256),
        ("135M", False): llama(30, 576, 1536, 192, 49152, shared=True),
    }
    for row in FAMILY:
        assert row.parameters == counts[row.size, row.stage == "RM"], row.alias
    assert f"{model('70b').parameters / 1e9:.1f}B params" in TEXT


def test_the_demos_parameters_are_those_of_its_weights(demo_directory: Path) -> None:
    from tulu_cli.models.headers import count_weights

    assert count_weights(demo_directory).parameters == model("demo").parameters
