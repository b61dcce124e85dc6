"""Drafts that a command names: found, held against their model, and known to warm engines."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter
from tulu_cli.batch.options import BatchOptions
from tulu_cli.batch.requests import check_sampling, identity
from tulu_cli.commands.ps import row_of
from tulu_cli.core import EngineInfo, Sampling
from tulu_cli.engines.base import EngineSpec, read_draft
from tulu_cli.errors import NoEngine, TuluError, UsageError
from tulu_cli.loading import LoadOptions, Prepared, TokenModel, drafts, prepare
from tulu_cli.loading.servers import order_of, wanted_of
from tulu_cli.machine import Gpu, read_machine
from tulu_cli.models.draft import NONE, Draft
from tulu_cli.prompt import LateTokenizer
from tulu_cli.request.request import request_maker
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams
from tulu_cli.warm.endpoint import Endpoint
from tulu_cli.warm.finder import mismatch
from tulu_cli.warm.record import LaunchOrder, State, Warm

GPU = Gpu(0, "NVIDIA H100", 80 * 2**30, 79 * 2**30)
MACHINE = replace(read_machine(), gpus=())


def settings(**values: Any) -> Settings:
    return Settings({name: Setting(value, "flag") for name, value in values.items()})


def prepared(**values: Any) -> Prepared:
    """What is decided for these flags."""
    switches = {name: values.pop(name) for name in ("deterministic",) if name in values}
    options = LoadOptions(settings(**values), offline=True, **switches)
    return prepare(options, MACHINE, Streams.test())


@pytest.fixture
def other(small_directory: Path, tmp_path: Path) -> Callable[..., str]:
    """Makes a model that differs in what is given of its config and its tokenizer."""

    def made(tokenizer: Callable[[Any], None] | None = None, **config: Any) -> str:
        directory = tmp_path / "other"
        shutil.copytree(small_directory, directory)
        told = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps(told | config))
        if tokenizer is not None:
            path = directory / "tokenizer.json"
            held = json.loads(path.read_text())
            tokenizer(held)
            path.write_text(json.dumps(held))
        return str(directory)

    return made


def test_a_draft_asks_for_vllm_and_is_another_batch(
    small_directory: Path, demo_directory: Path, other: Callable[..., str]
) -> None:
    model, made = str(demo_directory), []
    ngrams = prepared(model=model, draft="ngram", draft_tokens=6)
    assert ngrams.choice.engine == "vllm"
    assert ngrams.token_model().spec.draft == Draft(tokens=6)
    small = prepared(model=model, draft=str(small_directory))
    assert small.token_model().spec.draft == Draft(str(small_directory), small_directory)
    alike = other(lambda told: told.update(version="1.0"), vocab_size=None)
    assert prepared(model=model, draft=alike).token_model().draft == alike
    none = prepared(model=model, draft="none", engine="vllm")
    assert none.token_model().draft is None
    made = [identity(BatchOptions(one.options), one) for one in (ngrams, small, none)]
    assert len(set(made)) == 3


def exchanged(told: Any) -> None:
    """Two tokens change places."""
    vocabulary = told["model"]["vocab"]
    vocabulary["one"], vocabulary["two"] = vocabulary["two"], vocabulary["one"]


@pytest.mark.parametrize(
    ("tokenizer", "config", "sentence"),
    [
        (exchanged, {}, r"has not the same tokens \(49,152 and 49,152; 'one' for one"),
        (None, {"vocab_size": 50000}, "have 50,000 rows of tokens, and those of .* 49,152"),
        (None, {"architectures": ["LlamaForCausalLMEagle3"]}, "a head for the hidden states"),
        (None, {"architectures": ["LlamaForSequenceClassification"]}, "is a reward model"),
        (
            None,
            {
                "architectures": ["MistralForCausalLM"],
                "model_type": "mistral",
                "sliding_window": 512,
            },
            "has layers with a window, with which vLLM does not draft",
        ),
    ],
)
def test_a_model_that_cannot_draft_is_said(
    tokenizer: Callable[[Any], None] | None,
    config: dict[str, Any],
    sentence: str,
    small_directory: Path,
    other: Callable[..., str],
) -> None:
    with pytest.raises(UsageError, match=sentence):
        prepared(model=str(small_directory), draft=other(tokenizer, **config))


def test_what_cannot_draft_is_said(
    small_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(small_directory)
    adapter = make_adapter(tmp_path / "a", small_directory, rank=1, targets=("q_proj",))
    cases: list[tuple[dict[str, Any], type[TuluError], str]] = [
        ({"draft": "ngram", "engine": "transformers"}, UsageError, "is for vLLM: transformers"),
        ({"draft": "ngram", "deterministic": True}, UsageError, "--deterministic and --draft"),
        ({"draft": model, "pipeline_parallel_size": 2}, UsageError, "among pipeline stages"),
        ({"draft": str(adapter)}, UsageError, "is an adapter: --draft takes a whole model"),
        ({"draft_tokens": 3}, UsageError, "--draft-tokens goes with --draft"),
        ({"draft_tokens": 3, "draft": "none"}, UsageError, "--draft-tokens goes with --draft"),
    ]
    for values, error, sentence in cases:
        with pytest.raises(error, match=sentence):
            prepared(model=model, **{"engine": "vllm", **values})
    monkeypatch.setattr(drafts, "find_spec", lambda _name: None)
    with pytest.raises(NoEngine, match=r"with numba: pip install 'numba==0\.65\.0'"):
        prepared(model=model, draft="ngram")


def test_a_draft_of_the_settings_that_does_not_go_is_left_out_and_said(
    small_directory: Path, other: Callable[..., str]
) -> None:
    draft = other(architectures=["EagleLlamaForCausalLM"])
    given = Settings(
        {
            "model": Setting(str(small_directory), "flag"),
            "draft": Setting(draft, "TULU_DRAFT"),
            "engine": Setting("vllm", "flag"),
        }
    )
    streams = Streams.test()
    made = prepare(LoadOptions(given, offline=True), MACHINE, streams)
    assert made.token_model().draft is None
    said = streams.stderr.getvalue().decode()  # type: ignore[attr-defined]
    assert f"tulu: draft = {draft} (TULU_DRAFT) is left out: {draft} is a head for" in said
    alone = LoadOptions(given).without_draft().settings
    assert alone.get("draft") == NONE, "evaluations use no warm engine that drafts either"


def test_sampling_that_vllm_does_not_do_beside_a_draft_is_said_before_it_is_loaded(
    small_directory: Path,
) -> None:
    options = LoadOptions(settings(model=str(small_directory), draft="ngram"), offline=True)
    here = request_maker(prepare(options, MACHINE, Streams.test()))
    here.request((1, 2), Sampling(temperature=0.0))
    with pytest.raises(UsageError, match="loses the temperature on a CPU"):
        here.request((1, 2), Sampling(temperature=0.7))
    batch, decided = BatchOptions(options), prepare(options, MACHINE, Streams.test())
    with pytest.raises(UsageError, match="loses the temperature on a CPU"):
        check_sampling(batch, decided)
    check_sampling(batch, decided, {"temperature": 0})
    check_sampling(replace(batch, score=True), decided)
    on_gpu = request_maker(prepare(options, replace(MACHINE, gpus=(GPU,)), Streams.test()))
    on_gpu.request((1, 2), Sampling(temperature=0.7))
    for sampling in (Sampling(min_p=0.1), Sampling(logit_bias={1: 2.0})):
        with pytest.raises(UsageError, match=r"vLLM takes no (min_p|logit_bias) where a draft"):
            on_gpu.request((1, 2), sampling)
    info = EngineInfo("vllm", "demo", None, "cpu", "auto", 512, {})
    model = on_gpu.model
    assert isinstance(model, TokenModel)
    warm = replace(model.spec, draft=None, server=Endpoint(info=info, draft="ngram"))
    there = replace(on_gpu, model=replace(model, spec=warm))
    with pytest.raises(UsageError, match="loses the temperature on a CPU"):
        there.request((1, 2), Sampling(temperature=0.7))


def test_a_warm_engine_with_another_draft_is_another_engine(
    small_directory: Path, demo_directory: Path, tmp_path: Path
) -> None:
    spec = EngineSpec("demo", small_directory, LateTokenizer(small_directory), 512)

    def order(draft: Draft | None) -> LaunchOrder:
        asked = replace(spec, draft=draft)
        return order_of(asked, "vllm", MACHINE, asked="demo", end_token_ids=(2,), keep_alive=0)

    small = Draft("small", small_directory, 4)
    drafts_of = (None, Draft(tokens=4), Draft(tokens=5), small)
    orders = [order(draft) for draft in drafts_of]
    assert len({one.identity.key for one in orders}) == 4
    for one, draft in zip(orders, drafts_of, strict=True):
        assert read_draft(json.loads(json.dumps(one.identity.settings.get("draft")))) == draft

    def difference(held: Draft | None, wanted: Draft | None = None, **asked: Any) -> str | None:
        warm = Warm(Path("/nowhere"), order(held), State(1, 2, 3.0, 4.0))
        return mismatch(warm, wanted_of(replace(spec, draft=wanted), settings(**asked), MACHINE))

    listed = row_of(Warm(tmp_path / "none", orders[1], State(1, 2, 3.0)), 5.0)
    assert (listed.draft, listed.cells()[0]) == ("ngram", "demo (draft ngram)")
    ngrams = Draft(tokens=4)
    assert difference(ngrams) is None, "what is not asked for may be"
    assert difference(ngrams, draft="none") == "its draft is ngram, not none"
    assert difference(None, draft="none") is None
    assert difference(None, ngrams, draft="ngram") == "its draft is none, not ngram"
    assert difference(Draft(tokens=6), ngrams, draft="ngram") is None
    told = difference(Draft(tokens=6), ngrams, draft="ngram", draft_tokens=4)
    assert told == "its draft is of 6 tokens at a time, not 4"
    told = difference(replace(small, directory=demo_directory), small, draft="small")
    assert told == "its draft small is another copy, or has changed since it was loaded"
