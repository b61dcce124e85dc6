"""The transformers engine's own: its kept cache, its memory, its refusals."""

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.program import once_within
from tulu_cli.core import Constraint, Done, Request, Sampling, Text, ThoughtFormat
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import Engine
from tulu_cli.engines.thinking import ContinuedChoice
from tulu_cli.engines.transformers.cache import cache_argument
from tulu_cli.errors import BadInput, DoesNotFit, EngineError, NoEngine, UsageError
from tulu_cli.machine import Machine
from tulu_cli.serving.engine_thread import END as END_OF_JOB
from tulu_cli.serving.engine_thread import EngineThread, Job

from .loading import END, Asker, load_engine, usage_of


@pytest.fixture(scope="module")
def loaded(small_directory: Path) -> Iterator[Any]:
    """The engine with the small model."""
    engine = load_engine("transformers", small_directory)
    yield engine
    engine.close()


@pytest.fixture
def engine(loaded: Any) -> Any:
    """The engine with nothing kept."""
    loaded.forget()
    return loaded


def test_the_release_is_the_one_that_this_run_is_for() -> None:
    file = os.environ.get("TRANSFORMERS_OF", "transformers.txt")
    pins = Path(__file__).parent.parent.parent / "requirements" / file
    assert f"transformers=={transformers.__version__}" in pins.read_text().splitlines()


def ask(engine: Engine, ids: tuple[int, ...], **sampling: Any) -> tuple[int, ...]:
    values: dict[str, Any] = {"temperature": 0.0, "max_tokens": 24} | sampling
    return collect(engine.stream(Request(ids, Sampling(**values), END)))[0].token_ids


def cold(engine: Any, ids: tuple[int, ...]) -> tuple[int, ...]:
    engine.forget()
    return ask(engine, ids)


def test_three_turns_from_the_kept_cache_are_those_without_it(engine: Any, asker: Asker) -> None:
    turns = ["Tell me about foxes."]
    for question in ("And wolves?", "Which is larger?", "Thank you."):
        ids = asker.ids(turns[-1], *turns[:-1])
        kept = ask(engine, ids)
        again = collect(engine.stream(Request(ids, Sampling(temperature=0.0, max_tokens=1), END)))
        assert usage_of(again[0].done).cached_tokens == len(ids) - 1
        turns += [asker.tokenizer.decode(kept), question]
    final = asker.ids(turns[-1], *turns[:-1])
    assert ask(engine, final) == cold(engine, final)


def test_another_conversation_keeps_only_what_is_common(engine: Any, asker: Asker) -> None:
    first, second = asker.ids("Tell me about foxes."), asker.ids("Tell me about the sea.")
    ask(engine, first)
    sampling = Sampling(temperature=0.0, max_tokens=24)
    (answer,) = collect(engine.stream(Request(second, sampling, END)))
    common = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert usage_of(answer.done).cached_tokens == common
    assert answer.token_ids == cold(engine, second)


def test_after_several_choices_the_prompt_is_kept(engine: Any, asker: Asker) -> None:
    ids = asker.ids("Tell me about foxes.")
    ask(engine, ids, n=3, temperature=1.0, seed=4)
    (answer,) = collect(engine.stream(Request(ids, Sampling(temperature=0.0, max_tokens=24), END)))
    assert usage_of(answer.done).cached_tokens == len(ids) - 1
    assert answer.token_ids == cold(engine, ids)


@pytest.mark.parametrize("step", [0, 1, 7])
def test_an_interrupt_inside_a_layer_leaves_a_usable_cache(
    engine: Any, asker: Asker, step: int
) -> None:
    ids = asker.ids("Tell me about foxes.")
    expected = cold(engine, ids)
    engine.forget()
    calls = 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise KeyboardInterrupt

    hook = engine.model.model.layers[-1].mlp.register_forward_pre_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(engine, ids)
    finally:
        hook.remove()
    (answer,) = collect(engine.stream(Request(ids, Sampling(temperature=0.0, max_tokens=24), END)))
    assert answer.token_ids == expected
    assert (usage_of(answer.done).cached_tokens > 0) == (step > 0)


def test_a_failure_inside_the_model_is_one_sentence_and_no_end(engine: Any, asker: Asker) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("kernel exploded\nwith details")

    hook = engine.model.model.layers[0].register_forward_pre_hook(fail)
    try:
        with pytest.raises(EngineError, match=r"^transformers failed .*kernel exploded\.$"):
            ask(engine, asker.ids("Hi"))
        ((_, error),) = engine.batch([asker.request()])
        assert isinstance(error, EngineError)
    finally:
        hook.remove()
    assert ask(engine, asker.ids("Hi"))


def test_a_batch_of_very_different_lengths_is_as_each_alone(engine: Any, asker: Asker) -> None:
    requests = [asker.request("word " * count, max_tokens=6) for count in (1, 120, 40, 260, 3)]
    answers = dict(engine.batch(iter(requests)))
    for position, request in enumerate(requests):
        assert answers[position][0].token_ids == ask(engine, request.prompt_token_ids, max_tokens=6)


def tiny(small_directory: Path, directory: Path, model: Any) -> Path:
    """Save a random model with the demo's tokenizer."""
    model.save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(small_directory / name, directory)
    return directory


@pytest.fixture(scope="module")
def sliding_directory(small_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Mistral whose layers see a window of 16 tokens, with the demo's tokenizer."""
    directory = tmp_path_factory.mktemp("sliding")
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=49152, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=16,
    )  # fmt: skip
    return tiny(small_directory, directory, transformers.MistralForCausalLM(config))


@pytest.fixture
def sliding(sliding_directory: Path) -> Iterator[Any]:
    """An engine whose cache cannot be cut back."""
    engine = load_engine("transformers", sliding_directory)
    yield engine
    engine.close()


def test_a_sliding_window_is_continued_or_computed_anew(sliding: Any, asker: Asker) -> None:
    first = asker.ids("Tell me about foxes and wolves and bears.")
    answer = ask(sliding, first, ignore_eos=True)
    continued = (*first, *answer, 198, 198)
    other = asker.ids("Tell me about the sea.")
    for ids, cached in ((continued, len(first) + len(answer) - 1), (other, 0)):
        (warm,) = collect(
            sliding.stream(Request(ids, Sampling(temperature=0.0, max_tokens=24), END))
        )
        assert usage_of(warm.done).cached_tokens == cached
        assert warm.token_ids == cold(sliding, ids)
        ask(sliding, first, ignore_eos=True)


@pytest.mark.parametrize("kind", ["Mamba", "Rwkv"])
def test_a_model_without_keys_and_values_is_refused(
    small_directory: Path, tmp_path: Path, kind: str
) -> None:
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=49152, hidden_size=32, attention_hidden_size=32, num_hidden_layers=2
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with pytest.raises(EngineError, match=f"^{kind}ForCausalLM has no cache of keys and values"):
        load_engine("transformers", tiny(small_directory, tmp_path / kind, model))


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_goes_by_the_models_own_name_for_it(name: str) -> None:
    made: dict[str, Any] = {}
    exec(f"def forward(self, input_ids, {name}=None, use_cache=True, **kwargs): ...", made)
    model: Any = type("Model", (), made | {"config": transformers.LlamaConfig()})()
    assert cache_argument(model) == name


def test_quantization_is_refused_with_what_would_do(small_directory: Path) -> None:
    with pytest.raises(UsageError, match="fp8, awq and gptq need --engine vllm"):
        load_engine("transformers", small_directory, quantization="fp8")
    with pytest.raises(NoEngine, match="pip install bitsandbytes"):
        load_engine("transformers", small_directory, quantization="bitsandbytes")


@pytest.mark.parametrize(
    "option",
    [
        {"tensor_parallel_size": 2},
        {"pipeline_parallel_size": 2},
        {"gpu_memory_utilization": 0.5},
    ],
)
def test_an_option_of_vllm_is_refused_and_not_dropped(
    small_directory: Path, option: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="--engine vllm"):
        load_engine("transformers", small_directory, **option)


def test_broken_weights_are_one_sentence(small_directory: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(small_directory, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(EngineError, match=r"^transformers cannot load demo: [^\n]+\.$"):
        load_engine("transformers", broken)


def test_arguments_of_its_own_are_passed_through(small_directory: Path, asker: Asker) -> None:
    engine: Any = load_engine(
        "transformers", small_directory, engine_args={"attn_implementation": "eager"}
    )
    assert engine.model.config._attn_implementation == "eager"
    assert ask(engine, asker.ids("Hi"), max_tokens=2)
    engine.close()


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({}, "5000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, None),
        ({"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "5"}, "5"),
    ],
)
def test_torch_finds_how_long_its_threads_spin_when_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, demo_directory: Path, given: dict[str, str], spins: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, given.get(name, ""))
        if name not in given:
            monkeypatch.delenv(name)
    monkeypatch.setitem(sys.modules, "torch", None)  # it cannot be imported any more
    with pytest.raises(ImportError):
        load_engine("transformers", demo_directory)
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_it_says_what_is_missing() -> None:
    from tulu_cli.engines import transformers as module

    assert module.why_not(Machine(packages={"torch": "2", "transformers": "5"})) is None
    assert "transformers is not installed" in str(module.why_not(Machine(packages={"torch": "2"})))


def test_a_ctrl_c_stops_the_answer_within_200_ms(demo_directory: Path) -> None:
    assert once_within(0.2, lambda: seconds_to_stop(demo_directory))


def seconds_to_stop(directory: Path) -> float:
    """From a Ctrl-C in an answer to the last of it on stdout."""
    command = [sys.executable, "-m", "tulu_cli", "complete", "--engine", "transformers"]
    command += ["-m", str(directory), "--ignore-eos", "--max-tokens", "1500", "Tell a story."]
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        descriptor = process.stdout.fileno()
        assert os.read(descriptor, 4096)
        process.send_signal(signal.SIGINT)
        sent = last = time.perf_counter()
        text = b""
        while piece := os.read(descriptor, 4096):
            text, last = text + piece, time.perf_counter()
        assert text.endswith(b"\n")
        assert process.wait() == 130
        assert process.stderr.read() == b""
    return last - sent


def test_requests_that_come_and_go_are_answered_as_each_alone(engine: Any, asker: Asker) -> None:
    texts = ("Hi", "word " * 90, "Name a colour.", "Tell me about the sea. " * 9, "Why?", "Who?")
    requests = [asker.request(text, max_tokens=4 + 3 * i) for i, text in enumerate(texts)]
    alone = [
        ask(engine, one.prompt_token_ids, max_tokens=one.sampling.max_tokens) for one in requests
    ]
    batch = engine.continuous()
    seen: dict[int, list[int]] = {}
    ended: list[int] = []
    queue = list(enumerate(requests))
    steps = 0
    while len(ended) < 5:
        assert steps < 200, "an answer does not end"
        if queue and steps % 3 == 0:  # one joins every third step
            batch.add(*queue.pop(0))
        for position, event in batch.advance():
            if isinstance(event, Text):
                seen.setdefault(position, []).extend(event.token_ids)
            else:
                ended.append(position)
        if steps == 13:
            batch.drop(4)
        steps += 1
    assert 4 not in ended
    for position in ended:
        assert tuple(seen[position]) == alone[position]


def test_where_memory_runs_out_fewer_run_at_a_time(engine: Any, asker: Asker) -> None:
    requests = [asker.request(text, max_tokens=5) for text in ("Hi", "A", "B", "C", "D", "E", "F")]
    most = 0

    def fail(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal most
        if len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("no room")
        most = max(most, len(inputs[0]))

    hook = engine.model.model.layers[-1].mlp.register_forward_pre_hook(fail)
    try:
        answers = dict(engine.batch(requests))
    finally:
        hook.remove()
    assert most == 3
    for position, request in enumerate(requests):
        assert answers[position][0].token_ids == ask(engine, request.prompt_token_ids, max_tokens=5)


def test_a_request_that_never_fits_is_an_error_of_its_own(engine: Any, asker: Asker) -> None:
    def fail(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 1 or inputs[0].shape[1] > 100:
            raise torch.OutOfMemoryError("no room")

    hook = engine.model.model.layers[-1].mlp.register_forward_pre_hook(fail)
    requests = [asker.request(text, max_tokens=3) for text in ("Hi", "word " * 200, "Name one.")]
    try:
        answers = dict(engine.batch(requests))
    finally:
        hook.remove()
    assert isinstance(answers[1], DoesNotFit)
    assert len(answers[0][0].token_ids) == len(answers[2][0].token_ids) == 3


def test_a_constraint_that_cannot_be_is_an_error_of_its_own(engine: Any, asker: Asker) -> None:
    bad = asker.request(constraint=Constraint("regex", "(unclosed"))
    answers = dict(engine.batch([asker.request(max_tokens=2), bad]))
    assert isinstance(answers[1], BadInput)
    assert len(answers[0][0].token_ids) == 2


def test_in_bfloat16_nothing_else_changes_an_answer_of_a_deterministic_engine(
    small_directory: Path, asker: Asker
) -> None:
    changes: dict[str, Any] = {"dtype": "bfloat16", "deterministic": True}
    engine = load_engine("transformers", small_directory, **changes)
    requests = [asker.request(text) for text in ("Why is the sky blue?", "word " * 20)]
    requests.append(asker.request("Name a colour.", temperature=0.8, seed=7, n=2))
    alone = [collect(engine.stream(request)) for request in requests]
    expected = [[choice.token_ids for choice in answer] for answer in alone]
    assert {usage_of(choice.done).cached_tokens for answer in alone for choice in answer} == {0}
    again = [collect(engine.stream(request)) for request in requests for _ in range(2)][1::2]
    together: dict[int, Any] = dict(engine.batch(requests))
    thread = EngineThread(lambda: engine)
    thread.start()
    served = [queue.SimpleQueue[Any]() for _ in requests]
    for request, events in zip(requests, served, strict=True):
        thread.submit(Job(request, "one client", events.put))
    warm = [collect(list(iter(events.get, END_OF_JOB))) for events in served]
    for answers in (again, [together[i] for i in range(len(requests))], warm):
        assert [[choice.token_ids for choice in answer] for answer in answers] == expected


def test_penalties_begin_anew_behind_a_thought_as_where_an_engine_is_asked_again(
    engine: Any, asker: Asker
) -> None:
    """What vLLM and servers do, to which all that has come is the prompt."""
    thoughts = ThoughtFormat("<think>", "</think>", is_open=True, closing="\n</think>\n\n")
    sampling: dict[str, Any] = {"presence_penalty": 2.0, "frequency_penalty": 2.0}
    asked = asker.request(max_tokens=40, max_reasoning_tokens=8, **sampling)
    asked = replace(asked, thoughts=thoughts)
    (here,) = collect(engine.stream(asked))
    choice = ContinuedChoice(asked, asker.tokenizer, 0, 0.0)
    while choice.finish is None:
        list(choice.begin())
        for event in engine.stream(choice.asked):
            for token in event.token_ids if isinstance(event, Text) else ():
                list(choice.push(token))
            if choice.is_stale or choice.finish is not None:
                break
    assert here.done.reasoning_truncated
    assert list(here.token_ids) == choice._fed[len(asked.prompt_token_ids) :]


@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1e-6])
def test_a_temperature_below_vllms_least_is_raised_to_it(
    engine: Any, asker: Asker, temperature: float
) -> None:
    ids = asker.ids("Name a colour.")
    engine.forget()
    least = ask(engine, ids, temperature=0.01, seed=5)
    engine.forget()
    assert ask(engine, ids, temperature=temperature, seed=5) == least


# Each is an extreme that the settings take, and whether a token can still be drawn with it.
EXTREMES: list[tuple[dict[str, Any], bool]] = [
    ({"temperature": 1e-45}, True),
    ({"temperature": 1e38}, True),
    ({"temperature": 1e300}, True),
    ({"repetition_penalty": 1e-40}, False),
    ({"repetition_penalty": 1e-40, "temperature": 0.0}, False),
    ({"repetition_penalty": 1e40}, True),
    ({"min_p": 1.0}, True),
    ({"min_p": 5e-324}, True),
    ({"top_p": 5e-324}, True),
    ({"top_p": 1.0 - 2**-53}, True),
    ({"top_k": 2**31}, True),
]


def test_a_row_that_cannot_be_sampled_fails_alone(engine: Any, asker: Asker) -> None:
    usual: dict[str, Any] = {"temperature": 0.7, "seed": 3, "max_tokens": 4}
    others = [asker.request("Name a colour.", **usual), asker.request("Hi", max_tokens=4)]
    odd = [asker.request("Why?", **{**usual, **changes}) for changes, _ in EXTREMES]
    answers = dict(engine.batch([others[0], *odd, others[1]]))
    for place, (changes, can) in enumerate(EXTREMES, 1):
        assert isinstance(answers[place], list) == can, changes
        if not can:
            assert "repetition_penalty" in str(answers[place])
    for place, request in ((0, others[0]), (len(odd) + 1, others[1])):
        engine.forget()
        (alone,) = collect(engine.stream(request))
        assert answers[place][0].token_ids == alone.token_ids


@contextmanager
def second_row_spoiled(engine: Any, step: int, value: float) -> Iterator[None]:
    """Give the second row of one step's logits this value throughout."""
    calls = 0

    def spoil(_module: object, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == step:
            logits[1] = value
        return logits

    hook = engine.model.lm_head.register_forward_hook(spoil)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_fail_their_own_request(
    engine: Any, asker: Asker, value: float, temperature: float
) -> None:
    requests = [asker.request(text, max_tokens=5, temperature=temperature) for text in "ABC"]
    with second_row_spoiled(engine, 2, value):
        answers = dict(engine.batch(requests))
    assert re.match("No next token .* not finite", str(answers[1]))
    assert len(answers[0][0].token_ids) == len(answers[2][0].token_ids) == 5


def joined(engine: Any, request: Request) -> Iterator[Text | Done]:
    """The events of a request that decodes in a batch. Raise the error that it ends with."""
    batch = engine.continuous()
    batch.add(0, request)
    for _ in range(100):  # steps, of which a token takes one
        for _, event in batch.advance():
            if isinstance(event, EngineError):
                raise event
            yield event


@pytest.mark.parametrize("together", [False, True])
def test_other_choices_of_a_request_end_before_its_failure_is_told(
    engine: Any, asker: Asker, together: bool
) -> None:
    request = asker.request(n=3, max_tokens=6, temperature=1.0, seed=1, ignore_eos=True)
    engine.forget()
    seen: list[Any] = []
    with second_row_spoiled(engine, 3, float("nan")):
        events = joined(engine, request) if together else engine.stream(request)
        with pytest.raises(EngineError, match="not finite"):
            seen.extend(events)
    assert [event.index for event in seen if isinstance(event, Done)] == [0, 2]
    texts = [event for event in seen if isinstance(event, Text)]
    assert [sum(len(one.token_ids) for one in texts if one.index == i) for i in (0, 2)] == [6, 6]
