"""From settings to a model that is understood: which one, how long a context, what is passed on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.errors import ModelNotFound, NoEngine, UsageError
from tulu_cli.loading import LoadOptions, Prepared, open_engine, prepare, with_weights
from tulu_cli.loading.prepare import default_model, end_tokens, system_prompt
from tulu_cli.machine import Gpu, Machine
from tulu_cli.models import TULU_SYSTEM_PROMPT, ModelFiles, ModelRef
from tulu_cli.prompt import Tokenizer
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams

GIB = 2**30


def settings(prompts: dict[str, str] | None = None, **values: Any) -> Settings:
    return Settings(
        {name: Setting(value, "flag") for name, value in values.items()}, prompts=prompts or {}
    )


def files(*, is_tulu: bool = False, config: dict[str, Any] | None = None) -> ModelFiles:
    ref = ModelRef("name", "hub", "org/name", is_tulu=is_tulu)
    return ModelFiles(ref, Path("/nowhere"), None, config or {}, {})


@pytest.fixture
def model(demo_directory: Path, tmp_path: Path) -> Callable[..., Path]:
    """The demo model's files again, with a config.json of the test's own."""

    def make(**changes: Any) -> Path:
        for file in demo_directory.iterdir():
            (tmp_path / file.name).symlink_to(file)
        config = json.loads((tmp_path / "config.json").read_text()) | changes
        (tmp_path / "config.json").unlink()
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return make


def prepared(directory: Path, **values: Any) -> Prepared:
    chosen = settings(engine="fake", model=str(directory), **values)
    return prepare(LoadOptions(chosen, offline=True), Machine(), Streams.test())


@pytest.mark.parametrize(
    ("gpus", "expected", "reason"),
    [
        ((), "demo", "there is no GPU"),
        ((Gpu(0, "small", 24 * GIB, 19 * GIB),), "demo", "only 19.0 GiB free"),
        ((Gpu(0, "large", 80 * GIB, 79 * GIB),), "8b", "a GPU has 79.0 GiB free"),
        ((Gpu(0, "a", GIB, GIB), Gpu(1, "b", 24 * GIB, 20 * GIB)), "8b", "20.0 GiB"),
    ],
)
def test_the_default_model_is_said_in_one_line(
    gpus: tuple[Gpu, ...], expected: str, reason: str
) -> None:
    said: list[str] = []
    assert default_model(Machine(gpus), said.append) == expected
    assert len(said) == 1
    assert reason in said[0]
    assert "-m chooses another" in said[0]


TULU_PROMPT = TULU_SYSTEM_PROMPT


@pytest.mark.parametrize(
    ("asked", "is_tulu", "expected"),
    [
        (None, True, TULU_PROMPT),
        (None, False, None),
        ("tulu", False, TULU_PROMPT),
        ("none", True, None),
        ("brief", True, "Be brief."),
        ("Be long.", True, "Be long."),
        ("", True, ""),
    ],
)
def test_the_system_prompt(asked: str | None, is_tulu: bool, expected: str | None) -> None:
    values = {} if asked is None else {"system": asked}
    chosen = settings({"brief": "Be brief."}, **values)
    assert system_prompt(chosen, is_tulu=is_tulu) == expected


def test_the_end_tokens_are_the_configs_and_the_tokenizers(demo_directory: Path) -> None:
    tokenizer = Tokenizer.load(demo_directory)
    ends = end_tokens(files(config={"eos_token_id": [7, 2]}), tokenizer)
    assert ends == (7, 2)
    assert end_tokens(files(), tokenizer) == (tokenizer.eos_token_id,)


def test_what_was_set_reaches_the_engine(demo_directory: Path) -> None:
    found = prepared(demo_directory, dtype="float16", tensor_parallel_size=2, max_model_len=99)
    spec = found.token_model().spec
    assert (spec.name, spec.directory) == (str(demo_directory), demo_directory)
    assert (spec.dtype, spec.tensor_parallel_size, spec.max_model_len) == ("float16", 2, 99)
    assert (spec.device, spec.quantization) == ("auto", None)
    assert found.choice.engine == "fake"


def test_an_unloaded_model_needs_no_weights_but_a_loaded_one_does(
    model: Callable[..., Path],
) -> None:
    directory = model()
    (directory / "model.safetensors").unlink()
    understood = prepared(directory)
    with pytest.raises(ModelNotFound, match="safetensors"):
        with_weights(understood, Streams.test())


def test_a_model_starts(demo_directory: Path) -> None:
    with open_engine(prepared(demo_directory), Streams.test()) as engine:
        assert engine.info.engine == "fake"


def test_a_reward_model_is_refused(model: Callable[..., Path]) -> None:
    directory = model(architectures=["LlamaForSequenceClassification"])
    with pytest.raises(UsageError, match="is a reward model: it scores answers and writes none"):
        prepared(directory)


def test_a_server_that_was_named_cannot_be_asked_to_be_deterministic() -> None:
    chosen = settings(server="http://127.0.0.1:9")
    with pytest.raises(UsageError, match="--deterministic is for an engine that is loaded here"):
        prepare(LoadOptions(chosen, deterministic=True), Machine(), Streams.test())


def test_an_empty_name_is_not_the_default_model() -> None:
    with pytest.raises(ModelNotFound):
        prepare(LoadOptions(settings(engine="fake", model="")), Machine(), Streams.test())


@pytest.mark.parametrize(
    ("engine", "error", "complaint"),
    [
        ("vlm", UsageError, "Unknown engine 'vlm'; choose from auto, vllm, transformers"),
        ("vllm", NoEngine, "--engine vllm cannot run: .*install"),
        ("auto", NoEngine, "No engine can run here.*vllm: .*transformers: "),
    ],
)
def test_an_engine_that_cannot_run(
    engine: str, error: type[Exception], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name, _package=None: None)
    with pytest.raises(error, match=complaint):
        prepare(LoadOptions(settings(engine=engine)), Machine(), Streams.test())


@pytest.mark.parametrize(
    ("wrong", "error", "complaint"),
    [
        ({"keep_alive": "x"}, UsageError, "--keep-alive takes a time"),
        ({"model": "nosuch"}, ModelNotFound, "nosuch"),
    ],
)
def test_what_the_user_got_wrong_is_said_before_what_the_machine_lacks(
    wrong: dict[str, Any],
    error: type[Exception],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name, _package=None: None)
    with pytest.raises(error, match=complaint):
        prepare(LoadOptions(settings(**wrong)), Machine(), Streams.test())
