"""Our server as programs use it, over a port, with a real model on transformers."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from tests.engines.loading import END
from tests.program import eventually, once_within
from tests.warming import spec_of
from tulu_cli.core import Request, Sampling, ScoreRequest
from tulu_cli.engines.choose import EngineChoice, load
from tulu_cli.serving.app import make_app
from tulu_cli.serving.engine_thread import EngineThread
from tulu_cli.serving.guard import Guard
from tulu_cli.serving.public import bound

from . import clients
from .clients import Asker


class Server:
    """An application on a port, in a thread of this process."""

    def __init__(self, engine: str, directory: Path, **changes: Any) -> None:
        self.spec = spec_of(directory, dtype="float32", **changes)
        self.loaded: list[Any] = []
        thread = EngineThread(self._load(engine))
        app = make_app(thread, thread.start(), self.spec.tokenizer, END, ("demo", "mine"))
        self._listening = bound("127.0.0.1", 0)
        self._listening.listen()
        self.port = int(self._listening.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(Guard(app, "secret"), log_level="warning", lifespan="off")
        self._server = uvicorn.Server(config)
        sockets = {"sockets": [self._listening]}
        self._thread = threading.Thread(target=self._server.run, kwargs=sockets, daemon=True)
        self._thread.start()

    def _load(self, engine: str) -> Any:
        def load_it() -> Any:
            self.loaded.append(load(EngineChoice(engine, ()), self.spec))
            return self.loaded[0]

        return load_it

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listening.close()


@pytest.fixture(scope="module")
def server(small_thinking_directory: Path) -> Iterator[Server]:
    with closing(Server("transformers", small_thinking_directory)) as made:
        yield made


@pytest.fixture(scope="module")
def ask(server: Server) -> Asker:
    return Asker(server.url, "secret", "demo", "mine")


@pytest.mark.parametrize("feature", clients.FEATURES)
def test_what_the_page_says_of_the_openai_client(ask: Asker, feature: str) -> None:
    told = clients.told_outcomes("transformers")[feature]
    assert clients.outcome(clients.FEATURES[feature], ask) == told


@pytest.mark.filterwarnings("ignore")  # of a library that is not ours
def test_an_evaluation_gets_the_scores_that_the_engine_gives(ask: Asker, server: Server) -> None:
    from lm_eval.api.instance import Instance

    assert clients.told_outcomes("transformers")[clients.LM_EVAL_TEXTS] == "yes"
    directory = server.spec.directory
    clients.lm_eval_texts(ask, directory)
    pairs = [("The capital of France is", f" {city}") for city in ("Paris", "Rome", "a city in")]
    encode = server.spec.tokenizer.encode_text
    wanted = []
    for _, score in server.loaded[0].score(
        ScoreRequest(encode(context + answer), len(encode(context))) for context, answer in pairs
    ):
        wanted.append((score.logprob, score.greedy))
    with clients.told_key(ask):
        model = clients.completions_of(ask, directory, batch_size=3)
        asked = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        found = model.loglikelihood(asked)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
    assert [logprob for logprob, _ in found] == pytest.approx(
        [logprob for logprob, _ in wanted], abs=1e-3
    )


def test_the_answer_is_that_of_the_engine(ask: Asker, server: Server) -> None:
    ids = server.spec.tokenizer.encode_raw("The sky is")
    sampling = Sampling(max_tokens=8, temperature=0.0, frequency_penalty=1.0)
    ((_, wanted),) = server.loaded[0].batch([Request(ids, sampling, END)])
    assert (
        ask.text(list(ids), max_tokens=8, frequency_penalty=1.0).choices[0].text == wanted[0].text
    )


def test_a_client_that_hangs_up_frees_the_engine(ask: Asker, server: Server) -> None:
    def seconds() -> float:
        long = {"logit_bias": {"2": -100}, "max_tokens": 900, "n": 2, "temperature": 1.0}
        answer = ask.chat(stream=True, **long)
        next(iter(answer))
        begun = time.perf_counter()
        answer.close()
        assert eventually(lambda: running(ask) == 0)
        return time.perf_counter() - begun

    assert once_within(0.2, seconds)


def running(ask: Asker) -> int:
    told = ask.client.get("/../load", cast_to=object)
    assert isinstance(told, dict)
    return int(told["server_load"])


def test_a_wrong_key_is_refused(server: Server) -> None:
    with pytest.raises(openai.AuthenticationError):
        Asker(server.url, "wrong", "demo", "mine").chat()


@pytest.fixture(scope="module")
def scripted(thinking_directory: Path) -> Iterator[Asker]:
    """An engine that says what it is told to."""
    with closing(Server("fake", thinking_directory)) as made:
        yield Asker(made.url, "secret", "demo", "mine")


def test_a_thought_is_no_part_of_the_content(scripted: Asker) -> None:
    messages = [{"role": "user", "content": r"fake: say <think>\nHm.\n</think>\n\nYes."}]
    asked: dict[str, Any] = {"messages": messages, "max_tokens": 99}
    answer = scripted.chat(**asked, logprobs=True)
    message = answer.choices[0].message
    assert (message.content, message.reasoning_content) == ("Yes.", "Hm.")
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    deltas = [chunk.choices[0].delta for chunk in scripted.chat(**asked, stream=True)]
    thought = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    assert "".join(thought) == "Hm."
    assert "".join(delta.content or "" for delta in deltas) == "Yes."


def test_a_prompt_can_be_scored_without_an_answer(scripted: Asker) -> None:
    answer = scripted.text(["one two", "three"], echo=True, logprobs=0, max_tokens=0)
    assert [choice.text for choice in answer.choices] == ["one two", "three"]
    assert [len(choice.logprobs.tokens) for choice in answer.choices] == [2, 1]
    assert answer.choices[1].logprobs.token_logprobs == [None]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 0)


def test_an_echo_streams_in_front_of_the_answer(scripted: Asker) -> None:
    chunks = scripted.text(["one", "a b"], echo=True, logprobs=1, stream=True, n=2)
    texts: dict[int, str] = {}
    offsets: dict[int, list[int]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            if choice.logprobs:
                offsets.setdefault(choice.index, []).extend(choice.logprobs.text_offset)
    assert texts == {0: "oneone", 1: "oneone", 2: "a ba b", 3: "a ba b"}
    assert offsets[2] == [0, 1, 3, 4, 6]


def test_unknown_fields_are_named_in_the_log_once(
    scripted: Asker, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        scripted.chat(extra_body={"zeta\x1b[2J": 1, "alpha": 2})
    said = capfd.readouterr().err
    assert said.count("tulu: unknown fields of requests are ignored: ") == 1
    assert "\x1b" not in said
    assert "alpha" in said


def test_an_unseeded_answer_is_drawn_anew(ask: Asker) -> None:
    assert len({ask.said(temperature=1.5, max_tokens=8) for _ in range(4)}) > 1


def test_the_table_is_whole() -> None:
    for engine in ("transformers", "vllm"):
        told = clients.told_outcomes(engine)
        assert list(told) == [*clients.FEATURES, clients.LM_EVAL_TEXTS], json.dumps(told)
