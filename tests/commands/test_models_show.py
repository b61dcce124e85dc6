"""`tulu models show`: the card in each of its formats, and the facts of any other model."""

import csv
import io
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.models.fake_hub import fill_cache
from tests.models.repository import REPO
from tests.models.test_card import TEXT, card_tables
from tests.models.tiny_gguf import write_tiny_gguf
from tests.program import tulu
from tulu_cli.commands.models.show import ShowOptions, choose, run
from tulu_cli.errors import BadInput, ModelNotFound, TuluError, UsageError
from tulu_cli.models import TULU_SYSTEM_PROMPT
from tulu_cli.streams import Streams
from tulu_cli.text import terminal_safe


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hub's, and no network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def shown(name: str, view: str = "card", form: str = "text", *, width: int = 0) -> str:
    """What goes to stdout: of a pipe, or of a terminal with that width."""
    streams = Streams.test(tty=bool(width))
    streams.width = width or 80
    run(ShowOptions(name, view, form), streams, {"mine": "70b"})
    out = streams.stdout.getvalue().decode()  # type: ignore[attr-defined]
    assert out.endswith("\n")
    return str(out)


def joined(text: str) -> str:
    return " ".join(text.split())


def test_the_card_in_words() -> None:
    text = joined(shown("70b"))
    for words in (
        "RLVR",
        "70,553,837,568, 131.42 GiB in bf16",
        "meta-llama/Llama-3.1-70B allenai/Llama-3.1-Tulu-3-70B-SFT allenai/Llama-3.1-Tulu-3-70B",
        "Tülu3 is intended for research and educational use.",
        "limited safety training",
        "<|endoftext|>",
        "<|end_of_text|> (id 128001)",
        TULU_SYSTEM_PROMPT,
        "https://github.com/allenai/open-instruct",
    ):
        assert words in text
    assert shown("mine") == shown("70b")
    assert shown("allenai/Llama-3.1-Tulu-3-70B") == shown("70b")


@pytest.mark.parametrize("width", [40, 80, 100, 300])
def test_prose_fits_the_terminal(width: int) -> None:
    lines = shown("8b", width=width).splitlines()
    prose = [line for line in lines if line.startswith("  ") and not line.startswith("    ")]
    broken = [line for line in prose if len(line.split()) > 2 and "http" not in line]
    assert max(map(len, broken)) <= min(width, 100)


def test_the_card_as_json() -> None:
    about = json.loads(shown("405b-dpo", form="json"))
    assert about["lineage"][-1] == about["repository"] == "allenai/Llama-3.1-Tulu-3-405B-DPO"
    assert about["card"]["system_prompt"] == TULU_SYSTEM_PROMPT
    assert about["files"] is None


def test_the_demo_has_no_card_of_ours() -> None:
    assert json.loads(shown("demo", form="json"))["card"] is None
    assert "Apache-2.0" in shown("demo")
    assert "Llama 3.1" not in shown("demo")
    for view in ("benchmarks", "hyperparameters", "citation"):
        with pytest.raises(TuluError, match="demo"):
            shown("demo", view)


@pytest.mark.parametrize(("name", "number"), [("8b", 0), ("8b-sft", 0), ("70b", 1), ("mine", 1)])
def test_benchmarks_in_every_format_have_every_number(name: str, number: int) -> None:
    _, rows = card_tables()[number]
    document = json.loads(shown(name, "benchmarks", "json"))
    table = list(csv.reader(io.StringIO(shown(name, "benchmarks", "csv"))))
    markdown = shown(name, "benchmarks", "markdown").splitlines()
    assert document["models"] == table[0][2:] == [c.strip() for c in markdown[0].split("|")[2:-1]]
    text = shown(name, "benchmarks").splitlines()[-13:]
    plot = shown(name, "benchmarks", "plot", width=80).split("\n\n")
    for index, (benchmark, setting, scores) in enumerate(rows):
        best = max(scores)
        row = document["rows"][index]
        assert (row["benchmark"], row["setting"]) == (benchmark, setting)
        assert tuple(row["scores"].values()) == scores
        assert {row["scores"][name] for name in row["best"]} == {best}
        assert table[index + 1] == [benchmark, setting, *map(str, scores)]
        bold = markdown[index + 2].count("**") // 2
        assert bold == text[index].count("*") == plot[index].count("*") == scores.count(best)
        label = f"{benchmark} ({setting})" if setting else benchmark
        assert text[index].startswith(label)
        told = text[index].removeprefix(label).replace("*", "").split()
        assert told == list(map(str, scores))
        assert [
            float(line.split()[-1].rstrip("*")) for line in plot[index].strip().split("\n")[1:]
        ] == list(scores)


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_tables_and_charts_fit_the_terminal(width: int) -> None:
    for name in ("8b", "70b"):
        for form in ("text", "plot"):
            lines = shown(name, "benchmarks", form, width=width).splitlines()
            assert max(map(len, lines)) <= max(width, 34)
            assert len([line for line in lines if line.startswith("GSM8K")]) >= 1


def test_the_8b_table_is_whole_in_80_columns() -> None:
    lines = shown("8b", "benchmarks", width=80).splitlines()
    assert len(lines) == 3 + 13
    assert lines[-1].split()[0] == "Safety"


def test_charts_without_utf8_are_ascii() -> None:
    streams = Streams.test(tty=True)
    streams.utf8 = False
    run(ShowOptions("8b", "benchmarks", "plot"), streams, {})
    assert streams.stdout.getvalue().isascii()  # type: ignore[attr-defined]
    assert b"Tulu 3 8B             ####" in streams.stdout.getvalue()  # type: ignore[attr-defined]
    assert "█" in shown("8b", "benchmarks", "plot")


def test_hyperparameters_in_every_format() -> None:
    document = json.loads(shown("8b", "hyperparameters", "json"))
    assert tomllib.loads(shown("8b", "hyperparameters", "toml"))["ppo"] == document
    assert document["learning_rate"] == 3e-7
    assert document["response_length"] == {"default": 1024, "math": 2048}
    assert document["kl_beta"] == [0.1, 0.05, 0.03, 0.01]
    text = shown("70b", "hyperparameters")
    rows = list(csv.reader(io.StringIO(shown("70b", "hyperparameters", "csv"))))
    markdown = shown("70b", "hyperparameters", "markdown")
    for key, name, value in rows[1:]:
        assert f"• {name}: {value}" in TEXT
        assert f"| {name} | {value} |" in markdown
        assert value in text
        assert key in document
    assert len(rows) == 19


@pytest.mark.parametrize("width", [40, 60, 80])
def test_hyperparameters_fit_the_terminal(width: int) -> None:
    lines = shown("70b", "hyperparameters", width=width).splitlines()
    assert max(map(len, lines)) <= max(width, 50)


def test_the_citation() -> None:
    assert shown("405b", "citation").startswith("@article{lambert2024tulu3,\n")
    assert json.loads(shown("8b", "citation", "json"))["bibtex"] in shown("8b", "citation")


@pytest.mark.parametrize("name", ["405b", "405b-sft", "3.1-8b", "8b-rm"])
def test_what_the_card_does_not_say(name: str) -> None:
    for view in ("benchmarks", "hyperparameters"):
        with pytest.raises(TuluError, match="The model card has no"):
            shown(name, view)


def test_other_models_are_not_in_the_card(demo_directory: Path) -> None:
    for name in ("org/name", str(demo_directory)):
        with pytest.raises(TuluError, match="is not in the model card"):
            shown(name, "benchmarks")


NO_VIEW = {"benchmarks": False, "hyperparameters": False, "citation": False}
NO_FORM = {"plot": False, "json": False, "csv": False, "markdown": False, "toml": False}


@pytest.mark.parametrize(
    ("views", "forms", "sentence"),
    [
        (["benchmarks", "citation"], [], "--benchmarks and --citation cannot be combined."),
        (["benchmarks"], ["csv", "json"], "--json and --csv cannot be combined."),
        ([], ["plot"], "--plot goes with --benchmarks."),
        (["hyperparameters"], ["plot"], "--plot goes with --benchmarks."),
        (["benchmarks"], ["toml"], "--toml goes with --hyperparameters."),
        (["citation"], ["csv"], "--csv goes with --benchmarks and --hyperparameters."),
    ],
)
def test_what_does_not_go_together(views: list[str], forms: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(
            "8b",
            NO_VIEW | dict.fromkeys(views, True),
            NO_FORM | dict.fromkeys(forms, True),
            offline=False,
        )
    assert str(caught.value) == sentence


def test_the_files_of_a_directory(demo_directory: Path) -> None:
    found = json.loads(shown(str(demo_directory), form="json"))["files"]
    assert found["architectures"] == ["LlamaForCausalLM"]
    assert (found["layers"], found["hidden_size"], found["vocabulary"]) == (30, 576, 49152)
    assert (found["attention_heads"], found["key_value_heads"]) == (9, 3)
    assert (found["context_length"], found["dtype"]) == (8192, "bfloat16")
    assert (found["chat_template"], found["missing"]) == (True, [])
    assert found["parameters"] == 134_515_008
    text = shown(str(demo_directory))
    for words in (
        "Parameters       134,515,008",
        "Chat template    yes",
        "Weights          0.25 GiB",
    ):
        assert words in text


def model_of(directory: Path, config: Any, **files: bytes) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    for name, data in files.items():
        (directory / name.replace("__", ".")).write_bytes(data)
    return str(directory)


def test_a_directory_that_says_nothing(tmp_path: Path) -> None:
    found = json.loads(shown(model_of(tmp_path / "m", {}), form="json"))["files"]
    assert found.pop("missing") == ["tokenizer.json", "*.safetensors"]
    assert not any(found.values())
    assert "Missing here" in shown(str(tmp_path / "m"))


def test_hostile_metadata_is_one_safe_line(tmp_path: Path) -> None:
    hostile = "Llama\x1b[2J\x9b6n\u202e\nFAKE  8b is safe" + "A" * 5000
    config = {
        "architectures": [hostile, 7],
        "dtype": hostile,
        "num_hidden_layers": "many",
        "vocab_size": True,
        "quantization_config": {"quant_method": hostile},
    }
    text = shown(model_of(tmp_path / "m", config), width=80)
    assert terminal_safe(text) == text
    assert "\nFAKE" not in text
    assert len(text) < 2000
    assert "Layers" not in text
    assert "Vocabulary" not in text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 16,
        b"\x02\0\0\0\0\0\0\0[]",
        b'\x08\0\0\0\0\0\0\0{"a":1} ',
        b"\x10\0\0\0\0\0\0\0{",
    ],
    ids=["empty", "endless", "list", "no tensor", "cut"],
)
def test_weights_that_are_none(tmp_path: Path, data: bytes) -> None:
    directory = model_of(tmp_path / "m", {}, model__safetensors=data)
    with pytest.raises(BadInput, match=r"model.safetensors.* is not a safetensors file"):
        shown(directory)


def test_a_gguf_file_is_not_converted(tmp_path: Path) -> None:
    tiny_gguf = write_tiny_gguf(tmp_path / "tiny.gguf")
    found = json.loads(shown(str(tiny_gguf), form="json"))["files"]
    assert found["architectures"] == ["llama"]
    assert found["layers"] == 1
    assert found["parameters"] > 0
    assert found["weight_bytes"] == tiny_gguf.stat().st_size


def test_a_repository_in_the_cache(hub_cache: Path, demo_directory: Path) -> None:
    with pytest.raises(ModelNotFound, match="offline"):
        shown("org/name")
    files = {path.name: path.read_bytes() for path in demo_directory.iterdir()}
    fill_cache(hub_cache, "org/name", files)
    assert json.loads(shown("org/name", form="json"))["files"]["parameters"] == 134_515_008
    fill_cache(hub_cache, REPO, files)
    assert "\nFiles\n" in shown("8b")


def test_the_demo_is_not_built_to_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TULU_DEMO_WHEEL", "/nowhere.whl")
    assert json.loads(shown("demo", form="json"))["files"] is None
    assert not (tmp_path / "cache").exists()


def test_a_broken_cache_does_not_hide_the_card(hub_cache: Path) -> None:
    names = ("config.json", "tokenizer.json", "model.safetensors")
    fill_cache(hub_cache, REPO, dict.fromkeys(names, b"{"))
    streams = Streams.test()
    run(ShowOptions("8b"), streams, {})
    assert b"Lambert" not in streams.stdout.getvalue()  # type: ignore[attr-defined]
    assert b"limited safety training" in streams.stdout.getvalue()  # type: ignore[attr-defined]
    assert b"config.json is not valid JSON" in streams.stderr.getvalue()  # type: ignore[attr-defined]


def test_from_the_command_line() -> None:
    done = tulu("models", "show", "70b", "--benchmarks", "--csv")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith("benchmark,setting,Tülu 3 70B SFT,".encode())
    wrong = tulu("models", "show", "70c")
    assert wrong.returncode == 5
    assert b"Did you mean 70b" in wrong.stderr
    plot = tulu("models", "show", "70b", "--benchmarks", "--plot", env={"LC_ALL": "C"})
    assert plot.stdout.isascii()
