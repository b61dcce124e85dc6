"""Adapters (LoRA) on the real engines: as if merged into the weights, and several at once.

The model has four layers, so what it says does not matter, only that it is the same.
"""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter, merged
from tests.program import DEADLINE_SECONDS
from tulu_cli.core import Request, ScoreRequest
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import Engine
from tulu_cli.engines.vllm.settings import adapter_arguments, lora_options
from tulu_cli.errors import BadInput, EngineError, UsageError
from tulu_cli.models.adapter import Adapter, read_adapter

from .loading import Asker, load_engine

TOKENS = 8
NAMES = (None, "one", "two")


@pytest.fixture(scope="module")
def adapters(
    small_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Adapter, ...]:
    """Two adapters of the small model, of different ranks and for different layers."""
    folder = tmp_path_factory.mktemp("adapters")
    one = make_adapter(folder / "one", small_directory, seed=1)
    two = make_adapter(
        folder / "two", small_directory, seed=2, rank=3, strength=0.4, targets=("gate_proj",)
    )
    return tuple(read_adapter(path, path.name) for path in (one, two))


def ids_of(engine: Engine, requests: list[Request]) -> list[tuple[int, ...]]:
    """The tokens of each answer, in order, of one batch."""
    answers = dict(engine.batch(requests))
    found = []
    for position in range(len(requests)):
        answer = answers[position]
        assert isinstance(answer, list), answer
        found.append(answer[0].token_ids)
    return found


def asked(asker: Asker, *names: str | None) -> list[Request]:
    """One question to each adapter, and to the model alone for None."""
    return [
        replace(asker.request(max_tokens=TOKENS, ignore_eos=True), adapter=name) for name in names
    ]


@pytest.fixture(scope="module")
def engine(small_directory: Path, adapters: tuple[Adapter, ...]) -> Iterator[Engine]:
    engine = load_engine("transformers", small_directory, adapters=adapters)
    yield engine
    engine.close()


def test_each_row_of_a_batch_has_its_own(
    engine: Engine,
    asker: Asker,
    small_directory: Path,
    adapters: tuple[Adapter, ...],
    tmp_path: Path,
) -> None:
    together = ids_of(engine, asked(asker, "one", None, "two", "one", None))
    expected = []
    for number, adapter in enumerate((None, *adapters)):
        path = small_directory
        if adapter is not None:
            path = merged(tmp_path / str(number), path, adapter.directory)
        alone = load_engine("transformers", path)
        expected += ids_of(alone, asked(asker, None))
        alone.close()
    base, one, two = expected
    assert together == [one, base, two, one, base]
    assert len(set(together)) == 3


def test_a_stream_keeps_nothing_that_another_adapter_computed(engine: Engine, asker: Asker) -> None:
    expected = ids_of(engine, asked(asker, *NAMES))
    streamed = asked(asker, *NAMES, "one", "one")
    found = [collect(engine.stream(request))[0] for request in streamed]
    assert [one.token_ids for one in found] == [*expected, expected[1], expected[1]]
    usages = [one.done.usage for one in found]
    assert [usage is not None and usage.cached_tokens > 0 for usage in usages] == [
        *[False] * 4,
        True,
    ]


def test_scores_are_those_of_the_adapter(engine: Engine, asker: Asker) -> None:
    ids = asker.ids("Hello")
    requests = [ScoreRequest(ids, len(ids) - 4, adapter=name) for name in (*NAMES, "nobody")]
    scores = dict(engine.score(requests))
    assert isinstance(scores.pop(3), BadInput)
    found = [score.logprob for _, score in sorted(scores.items())]  # type: ignore[union-attr]
    assert len(set(found)) == 3


def test_an_adapter_that_is_not_loaded_is_refused(engine: Engine, asker: Asker) -> None:
    with pytest.raises(BadInput, match=r"no adapter 'nobody' here: there is one, two\."):
        collect(engine.stream(asked(asker, "nobody")[0]))


def test_one_that_does_not_fit_the_model_is_an_error(
    small_directory: Path, demo_directory: Path, tmp_path: Path
) -> None:
    """Where the weights of the model were not there to be asked before."""
    path = make_adapter(tmp_path / "deep", demo_directory, rank=1, targets=("k_proj",))
    deep = read_adapter(path, "deep")
    with pytest.raises(EngineError, match=r"the adapter deep: model\.layers\.\d+\..*k_proj"):
        load_engine("transformers", small_directory, adapters=(deep,))


@pytest.mark.vllm
# vLLM leaves a context of its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_vllm_gives_the_same_tokens(
    small_directory: Path, adapters: tuple[Adapter, ...], asker: Asker
) -> None:
    small = {"kv_cache_memory_bytes": 2**28}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a worker is forked with our filters
        engine = load_engine("vllm", small_directory, adapters=adapters, engine_args=small)
    try:
        requests = asked(asker, "two", None, "one", None)
        together = ids_of(engine, requests)
        assert collect(engine.stream(requests[0]))[0].token_ids == together[0]
        refused = dict(engine.batch(asked(asker, "nobody")))[0]
        assert isinstance(refused, BadInput)
    finally:
        engine.close()
    assert "VLLM_RPC_BASE_PATH" not in os.environ, "which a server that starts later would inherit"
    assert together == transformers_ids(small_directory, adapters, requests)
    assert len(set(together)) == 3


def transformers_ids(
    model: Path, adapters: tuple[Adapter, ...], requests: list[Request]
) -> list[tuple[int, ...]]:
    """The tokens that transformers gives, in a process of its own."""
    row: dict[str, Any] = {"max_tokens": TOKENS, "logprobs": None, "ignore_eos": True}
    rows = [{**row, "ids": one.prompt_token_ids, "adapter": one.adapter} for one in requests]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.engines.answer", "transformers", str(model)),
            *(str(adapter.directory) for adapter in adapters),
        ],
        input="\n".join(map(json.dumps, rows)),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [tuple(json.loads(line)["ids"]) for line in done.stdout.splitlines()]


def adapter(name: str, rank: int, *, has_patterns: bool = False) -> Adapter:
    shapes = {"model.layers.0.self_attn.q_proj": (8, 8)}
    return Adapter(name, Path("/adapters") / name, rank, None, shapes, has_patterns)


def test_vllm_is_told_the_least_rank_that_it_takes() -> None:
    on_gpu = adapter_arguments([adapter("a", 9), adapter("b", 65)], has_gpu=True)
    assert on_gpu == {
        "enable_lora": True,
        "max_loras": 2,
        "max_cpu_loras": 2,
        "max_lora_rank": 128,
        "lora_target_modules": ("q_proj",),
    }
    assert adapter_arguments([adapter("a", 8)], has_gpu=False)["max_loras"] == 2
    with pytest.raises(UsageError, match="a has rank 513, and vLLM takes 512 at most"):
        adapter_arguments([adapter("a", 513)], has_gpu=True)


def test_older_releases_of_vllm_ignore_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [adapter("a", 8, has_patterns=True)]
    adapter_arguments(several, has_gpu=True)
    monkeypatch.setattr("tulu_cli.engines.vllm.settings.vllm_release", lambda: "0.31.2")
    with pytest.raises(UsageError, match="rank_pattern"):
        adapter_arguments(several, has_gpu=True)


def test_the_server_of_vllm_is_told_where_they_are() -> None:
    option, *told = lora_options([adapter("a", 8)])
    assert option == "--lora-modules"
    assert [json.loads(one) for one in told] == [{"name": "a", "path": "/adapters/a"}]
    assert lora_options([]) == []
