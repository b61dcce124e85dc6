"""What each way of writing a model's name means."""

from pathlib import Path

import pytest

from tulu_cli.errors import ModelNotFound, UsageError
from tulu_cli.models import FAMILY, ModelRef, resolve


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def model(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    return directory


def test_a_family_alias_is_its_repository() -> None:
    expected = ModelRef("8b", "hub", "allenai/Llama-3.1-Tulu-3-8B", is_tulu=True)
    assert resolve("8b") == expected
    assert resolve("3.1-8b").repo == "allenai/Llama-3.1-Tulu-3.1-8B"
    assert resolve("70b-dpo@v1.0").revision == "v1.0"


@pytest.mark.parametrize("row", FAMILY, ids=lambda row: row.alias)
def test_every_alias_resolves(row: object) -> None:
    alias = getattr(row, "alias")  # noqa: B009
    assert resolve(alias).is_tulu is (alias != "demo")


def test_the_demo_is_a_kind_of_its_own() -> None:
    assert resolve("demo").kind == "demo"
    with pytest.raises(ModelNotFound):
        resolve("demo@main")


@pytest.mark.parametrize(
    ("name", "repo", "revision", "is_tulu"),
    [
        ("org/name", "org/name", None, False),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1", False),
        ("AllenAI/llama-3.1-TULU-3-8b", "AllenAI/llama-3.1-TULU-3-8b", None, True),
        ("allenai/OLMo-2-1124-7B", "allenai/OLMo-2-1124-7B", None, False),
        ("someone/Llama-3.1-Tulu-3-8B-GGUF", "someone/Llama-3.1-Tulu-3-8B-GGUF", None, False),
        ("_x/a.b-c_d@" + "a" * 40, "_x/a.b-c_d", "a" * 40, False),
    ],
)
def test_a_repository(name: str, repo: str, revision: str | None, *, is_tulu: bool) -> None:
    assert resolve(name) == ModelRef(name, "hub", repo, revision, is_tulu=is_tulu)


@pytest.mark.parametrize("written", ["./m", "m", "~/m", "./m/", "./x/../m"])
def test_a_directory(here: Path, written: str) -> None:
    model(here / "m")
    assert resolve(written) == ModelRef(written, "directory", path=here / "m")


def test_a_directory_wins_over_a_repository(here: Path) -> None:
    model(here / "org" / "name")
    assert resolve("org/name").kind == "directory"


def test_an_alias_wins_over_a_directory_and_a_path_over_both(here: Path) -> None:
    model(here / "8b")
    assert resolve("8b").kind == "hub"
    assert resolve("./8b", {"./8b": "70b"}).kind == "directory"


@pytest.mark.parametrize("name", ["a.gguf", "A.GGUF", "with space é.gguf", "at@x.gguf"])
def test_a_gguf_file(here: Path, name: str) -> None:
    (here / name).write_bytes(b"GGUF")
    assert resolve(name) == ModelRef(name, "gguf", path=here / name)


def test_a_users_alias_wins_over_the_family_and_may_lead_to_another(here: Path) -> None:
    aliases = {"8b": "best", "best": "org/name@v2", "mine": "./m", "demo": "8b-sft"}
    model(here / "m")
    assert resolve("8b", aliases) == ModelRef("8b", "hub", "org/name", "v2")
    assert resolve("mine", aliases).path == here / "m"
    assert resolve("demo", aliases).repo == "allenai/Llama-3.1-Tulu-3-8B-SFT"


@pytest.mark.parametrize("aliases", [{"a": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_aliases_in_a_circle_are_refused(aliases: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="a -> "):
        resolve("a", aliases)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("8B", "Did you mean 8b"),
        ("80b", "8b"),
        ("8b_sft", "8b-sft"),
        ("Llama-3.1-Tulu-3-8B", "allenai/Llama-3.1-Tulu-3-8B"),
        ("favourit", "favourite"),
        ("zzzz", "a path as ./name"),
    ],
)
def test_a_name_that_means_nothing_gets_the_nearest(name: str, offered: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(name, {"favourite": "8b"})
    assert offered in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "\0", "a\0b/c", "./a\0b", "\x1b[2J", "x" * 5000, "./" + "x" * 5000),
        *("org/", "/", "a/b/c", "@", "8b@", "org/name@", "org/name@-x", "org/name@../../x"),
        *("~nobody-here/x", "org /name", "org/name\n"),
    ],
)
@pytest.mark.usefixtures("here")
def test_odd_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        resolve(name)
    assert str(caught.value).isprintable()


def test_a_local_model_says_what_it_lacks(here: Path) -> None:
    (here / "empty").mkdir()
    (here / "quantized").mkdir()
    (here / "quantized" / "q4.gguf").touch()
    (here / "notes.txt").touch()
    for name, lack in [
        ("empty", "no config.json"),
        ("./quantized", "'q4.gguf'"),
        ("./notes.txt", "or a .gguf file"),
        ("./gone.gguf", "no file or directory './gone.gguf'"),
        ("~/gone", "no file or directory"),
    ]:
        with pytest.raises(ModelNotFound, match=lack):
            resolve(name)
