"""Adapters that a command names: found by path, by their base, on the Hub, or in a warm engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter
from tests.warming import load_warm, runtime
from tulu_cli.batch.options import BatchOptions, check_combinations
from tulu_cli.batch.requests import identity
from tulu_cli.core import Request, Sampling, ThoughtFormat
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.remote.wire import Wire
from tulu_cli.errors import BadInput, ModelNotFound, NoEngine, UsageError
from tulu_cli.loading import LoadOptions, Prepared, prepare
from tulu_cli.loading.adapters import adapter_of_server
from tulu_cli.machine import Machine, read_machine
from tulu_cli.models.adapter import read_adapter
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams
from tulu_cli.warm.endpoint import Endpoint, leased
from tulu_cli.warm.finder import warm_engines


@pytest.fixture(scope="module")
def adapter(small_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapters") / "mine", small_directory, rank=2)


def settings(**values: Any) -> Settings:
    return Settings({name: Setting(value, "flag") for name, value in values.items()})


def prepared(**values: Any) -> tuple[Prepared, str]:
    """What is decided for these flags, and what is said on the way."""
    streams = Streams.test()
    options = LoadOptions(settings(**{"engine": "fake", **values}), offline=True)
    made = prepare(options, read_machine(), streams)
    return made, streams.stderr.getvalue().decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["model", "adapter"])
def test_an_adapter_alone_finds_its_base(way: str, adapter: Path, small_directory: Path) -> None:
    given: dict[str, Any] = {way: str(adapter) if way == "model" else [str(adapter)]}
    made, said = prepared(**given)
    model = made.token_model()
    assert model.spec.directory == small_directory
    assert (model.adapter, model.adapters, model.title) == ("mine", ("mine",), "demo + mine")
    assert said.startswith(f"tulu: {adapter} is an adapter of {small_directory}, which ")
    assert len(said.splitlines()) == 1


def test_the_first_of_several_answers(adapter: Path, small_directory: Path) -> None:
    names = [f"b={adapter}", str(adapter)]
    made, _ = prepared(model=str(small_directory), adapter=names)
    assert (made.model.adapter, made.model.adapters) == ("b", ("b", "mine"))
    with pytest.raises(UsageError, match="Two adapters are called mine"):
        prepared(model=str(small_directory), adapter=[str(adapter), f"mine={adapter}"])


def test_a_batch_is_another_one_with_another_adapter(
    adapter: Path, small_directory: Path, tmp_path: Path
) -> None:
    """Also after another training in the same place."""
    two = tmp_path / "mine"
    hashes = []
    for seed in (0, 1):
        make_adapter(two, small_directory, seed=seed, rank=1, targets=("q_proj",))
        made, _ = prepared(model=str(small_directory), adapter=[str(two)])
        hashes.append(identity(BatchOptions(made.options), made))
    for adapters in ([], [str(adapter)]):
        made, _ = prepared(
            model=str(small_directory), **({"adapter": adapters} if adapters else {})
        )
        hashes.append(identity(BatchOptions(made.options), made))
    assert len(set(hashes)) == 4
    several = BatchOptions(LoadOptions(settings(adapter=["a", "b"])))
    with pytest.raises(UsageError, match="give --adapter once"):
        check_combinations(several)


def spoiled(adapter: Path, directory: Path, **files: str) -> str:
    """A copy of the adapter with other files beside it."""
    directory.mkdir()
    for path in adapter.iterdir():
        (directory / path.name).symlink_to(path)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return str(directory)


def test_prompts_are_those_of_the_model_or_it_is_refused(
    adapter: Path, small_directory: Path, tmp_path: Path
) -> None:
    own = json.loads((small_directory / "tokenizer_config.json").read_text())
    same = (small_directory / "tokenizer.json").read_text()
    alike = spoiled(
        adapter, tmp_path / "a", tokenizer_config__json=json.dumps(own), tokenizer__json=same
    )
    assert prepared(model=str(small_directory), adapter=[alike])[0].model.adapter == "a"
    other = spoiled(adapter, tmp_path / "b", chat_template__jinja="{{ messages }}")
    with pytest.raises(BadInput, match="b has a chat template of its own"):
        prepared(model=str(small_directory), adapter=[other])
    more = {"added_tokens": [{"content": "<new>"}]}
    added = spoiled(adapter, tmp_path / "c", tokenizer__json=json.dumps(more))
    with pytest.raises(BadInput, match=r"c adds tokens to its model \(<new>\)"):
        prepared(model=str(small_directory), adapter=[added])


def test_what_cannot_be_is_said(
    adapter: Path, small_directory: Path, demo_directory: Path, tmp_path: Path
) -> None:
    model = str(small_directory)
    with pytest.raises(ModelNotFound, match=r"There is no directory '\./none'"):
        prepared(model=model, adapter=["./none"])
    with pytest.raises(ModelNotFound, match="'nobody' is not an adapter"):
        prepared(model=model, adapter=["nobody"])
    alone, _ = prepared(model=model, adapter=["none"])
    assert alone.token_model().adapters == ()
    with pytest.raises(UsageError, match="--adapter none is for no adapter at all"):
        prepared(model=model, adapter=["none", str(adapter)])
    with pytest.raises(ModelNotFound, match="org/none is not in the cache"):
        prepared(model=model, adapter=["org/none"])
    deep = make_adapter(tmp_path / "deep", demo_directory, rank=1, targets=("k_proj",))
    with pytest.raises(UsageError, match=r"deep is not for .*, which has no layer layers\.10"):
        prepared(model=model, adapter=[str(deep)])
    without = Machine(packages={"torch": "2.13.0", "transformers": "5.19.0"})
    options = LoadOptions(settings(engine="transformers", model=model, adapter=[str(adapter)]))
    with pytest.raises(NoEngine, match=r"with PEFT: pip install 'tulu_cli\[lora\]'"):
        prepare(options, without, Streams.test())


def test_an_adapter_of_another_base_that_fits_is_applied_and_said(
    small_directory: Path, tmp_path: Path
) -> None:
    told = {"base_model_name_or_path": "org/other"}
    path = make_adapter(tmp_path / "x", small_directory, targets=("q_proj",), config=told)
    _, said = prepared(model=str(small_directory), adapter=[str(path)])
    assert "the adapter x was made for org/other; it is applied to" in said


def test_a_warm_engine_answers_with_each_of_its_adapters(
    adapter: Path, small_directory: Path, tmp_path: Path
) -> None:
    two = make_adapter(tmp_path / "two", small_directory, rank=1, targets=("q_proj",))
    held = (read_adapter(adapter, "mine"), read_adapter(two, "two"))
    model = str(small_directory)
    with runtime():
        engine = load_warm("fake", small_directory, adapters=held)
        answers = []
        for name in (None, "mine", "two", "nobody"):
            request = Request((5, 6), Sampling(temperature=0.0, max_tokens=9), (2,), adapter=name)
            try:
                answers.append(collect(engine.stream(request))[0].text.partition(":")[0])
            except ModelNotFound as error:
                answers.append(str(error))
        assert answers[1:3] == ["mine", "two"]
        thoughts = ThoughtFormat("<think>", "</think>", closing="</think>")
        limited = Sampling(temperature=0.0, max_tokens=9, max_reasoning_tokens=1)
        request = Request((5, 6), limited, (2,), thoughts=thoughts, adapter="two")
        assert collect(engine.stream(request))[0].text.startswith("two: ")
        assert answers[3].startswith("The model here is 'demo', with the adapters mine, two")
        engine.close()
        (warm,) = warm_engines()
        endpoint = leased(warm)
        assert endpoint is not None
        _, *beside = Wire(endpoint, {}).get("/v1/models")["data"]
        assert [(one["id"], one["parent"]) for one in beside] == [
            ("mine", "demo"),
            ("two", "demo"),
        ]
        # By its name, which is a directory for nobody here; not the one that it has not loaded.
        made, said = prepared(model=model, adapter=["two"])
        assert (made.engine_name, made.model.adapter, said) == ("warm fake", "two", "")
        made, said = prepared(model=model, adapter=[f"other={two}"])
        assert made.engine_name == "fake"
        assert "it has not loaded the adapter other as it is now" in said
        made, _ = prepared(model=model)
        assert (made.engine_name, made.model.adapter) == ("warm fake", None)


def test_a_server_has_adapters_of_its_own() -> None:
    endpoint = Endpoint(None, url="http://x", adapters=("a", "b"))  # type: ignore[arg-type]
    said: list[str] = []
    assert adapter_of_server(settings(adapter=["b"]), endpoint, said.append) == "b"
    assert adapter_of_server(settings(), endpoint, said.append) is None
    with pytest.raises(UsageError, match=r"http://x has no adapter '\./c': it has a, b\."):
        adapter_of_server(settings(adapter=["./c"]), endpoint, said.append)
    in_file = Settings({"adapter": Setting(["./c"], "config.toml")})
    assert adapter_of_server(in_file, endpoint, said.append) is None
    (line,) = said
    assert line.endswith("http://x has no adapter './c': it has a, b, so the model answers alone.")
