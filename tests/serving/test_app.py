"""Our server over its socket: OpenAI's routes, odd requests, hanging up."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.program import eventually
from tests.warming import order_of, runtime
from tulu_cli.core import EngineInfo
from tulu_cli.models import no_progress
from tulu_cli.prompt import Tokenizer
from tulu_cli.protocol.completions import PROMPT_PATH
from tulu_cli.serving.app import make_app
from tulu_cli.serving.engine_thread import END, EngineThread, Job
from tulu_cli.warm import starter
from tulu_cli.warm.unix_http import UnixConnection, get


@pytest.fixture(scope="module")
def socket(demo_directory: Path) -> Iterator[Path]:
    """Where a fake engine listens."""
    with runtime():
        yield starter.start(order_of("fake", demo_directory), no_progress).socket


def post(socket: Path, path: str, body: Any) -> tuple[int, str]:
    """The status and the text of a POST; a body that is not bytes is sent as JSON."""
    connection = UnixConnection(socket, 60)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def ask(socket: Path, path: str = "/v1/completions", **body: Any) -> Any:
    status, text = post(socket, path, body)
    assert status == 200, text
    return json.loads(text)


def test_a_text_is_completed_as_it_is(socket: Path) -> None:
    answer = ask(socket, prompt="one two three")
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (
        "one two three",
        "stop",
        2,
    )
    assert "token_ids" not in choice
    assert answer["object"] == "text_completion"
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["total_tokens"] == 7


def test_ids_go_in_and_come_out(socket: Path, demo_directory: Path) -> None:
    ids = list(Tokenizer.load(demo_directory).encode_raw("one two three"))
    (choice,) = ask(socket, prompt=ids, return_token_ids=True, n=1)["choices"]
    assert choice["token_ids"] == [*ids, 2]


def test_a_chat_goes_through_the_template(socket: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <|im_end|>"},
    ]
    answer = ask(socket, "/v1/chat/completions", messages=messages)
    (choice,) = answer["choices"]
    assert answer["object"] == "chat.completion"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].startswith(
        "system\nBe brief.\nuser\nHi <|im_end|>\nassistant"
    )


def test_a_stream_is_the_same_in_pieces(socket: Path) -> None:
    body = {"prompt": "one two", "stream": True, "stream_options": {"include_usage": True}, "n": 2}
    status, text = post(socket, "/v1/completions", {**body, "logprobs": 1})
    assert status == 200
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 6
    for index in range(2):
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        assert "".join(c["text"] for c in choices if c["index"] == index) == "one two"
    ends = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert ends.count("stop") == 2


def test_stop_strings_and_limits_work_for_other_clients(socket: Path) -> None:
    (choice,) = ask(socket, prompt="one two three", stop=" two")["choices"]
    assert (choice["text"], choice["stop_reason"]) == ("one", " two")
    (choice,) = ask(socket, prompt="one two three", max_tokens=2)["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("one two", "length")


REFUSED = [
    (b"", 400, "The body is not JSON"),
    (b"[]", 400, "not a JSON object"),
    (b"\xff\xfe{", 400, "The body is not JSON"),
    (b"[" * 100_000, 400, "The body is not JSON"),
    ({}, 400, "prompt must be a text, a list of token ids, or"),
    ({"prompt": []}, 400, "prompt must be"),
    ({"prompt": ["a", 5]}, 400, "prompt must be"),
    ({"prompt": [[5], []]}, 400, "prompt must be"),
    ({"prompt": ["a"] * 513, "n": 2}, 400, "prompt and n ask for more than 1,024"),
    ({"prompt": [True]}, 400, "prompt must be"),
    ({"prompt": [-1]}, 400, "not in the vocabulary"),
    ({"prompt": [10**9]}, 400, "not in the vocabulary"),
    ({"prompt": "a", "model": "gpt"}, 404, "The model here is 'demo', not 'gpt'"),
    ({"prompt": "a", "best_of": 2}, 400, "best_of is not supported"),
    ({"prompt": "word " * 3000}, 400, "The prompt has"),
    ({"prompt": "word " * 3000, "stream": True}, 400, "The prompt has"),
]


@pytest.mark.parametrize(("body", "status", "complaint"), REFUSED, ids=lambda row: str(row)[:40])
def test_an_odd_request_is_refused_and_the_next_one_answered(
    socket: Path, body: Any, status: int, complaint: str
) -> None:
    found, text = post(socket, "/v1/completions", body)
    assert found == status
    assert complaint in json.loads(text)["error"]["message"]
    assert ask(socket, prompt="x")["choices"]


@pytest.mark.parametrize(
    "messages", [None, [], "text", [{"role": "user"}], [{"content": "x"}]], ids=str
)
def test_a_conversation_that_is_none_is_refused(socket: Path, messages: Any) -> None:
    status, text = post(socket, "/v1/chat/completions", {"messages": messages})
    assert (status, json.loads(text)["error"]["class"]) == (400, "BadInput")


def test_ten_megabytes_of_ids_are_refused(socket: Path) -> None:
    status, text = post(socket, "/v1/completions", {"prompt": [1000] * 2_000_000})
    assert (status, json.loads(text)["error"]["class"]) == (400, "PromptTooLong")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "word " * 100_000}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 100_000}]}),
        (PROMPT_PATH, {"text": "word " * 100_000}),
        (PROMPT_PATH, {"conversation": [{"role": "user", "content": "word " * 100_000}]}),
    ],
    ids=["text", "chat", "ids of a text", "ids of a chat"],
)
def test_a_text_that_cannot_fit_is_refused_by_its_length(
    socket: Path, path: str, body: dict[str, Any]
) -> None:
    status, text = post(socket, path, body)
    assert status == 400
    assert json.loads(text)["error"]["message"].startswith("The prompt has at least ")


def test_paths_that_are_none(socket: Path) -> None:
    assert get(socket, "/v2/none")[0] == 404
    assert get(socket, "/v1/completions")[0] == 405
    assert get(socket, "/health")[0] == 200


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_cancels(socket: Path, stream: bool) -> None:
    connection = UnixConnection(socket, 60)
    # Without an end of its own; 64 such choices of 2,000 tokens take the fake engine minutes.
    body = {"prompt": "a b c", "ignore_eos": True, "n": 1024, "stream": stream}
    connection.request("POST", "/v1/completions", json.dumps(body).encode())
    assert eventually(lambda: running(socket) == 1)
    connection.close()
    assert eventually(lambda: running(socket) == 0)


def running(socket: Path) -> int:
    return int(json.loads(get(socket, "/load")[1])["server_load"])


def test_what_an_engine_says_after_the_servers_end_is_for_nobody(demo_directory: Path) -> None:
    class Engine:
        def __init__(self) -> None:
            self.jobs: list[Job] = []

        def submit(self, job: Job) -> None:
            self.jobs.append(job)

    engine = Engine()
    info = EngineInfo("fake", "m", None, "cpu", "none", 99, {})
    app = make_app(cast(EngineThread, engine), info, Tokenizer.load(demo_directory), (2,))
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}

    async def ask() -> None:
        sent = [{"type": "http.request", "body": b'{"prompt": "one"}', "more_body": False}]

        async def receive() -> Any:
            return sent.pop() if sent else await asyncio.Event().wait()

        async def send(_message: Any) -> None:
            raise AssertionError("nothing is answered")

        asked = asyncio.ensure_future(app(scope, receive, send))
        while not engine.jobs:
            assert not asked.done()
            await asyncio.sleep(0)
        asked.cancel()

    asyncio.run(ask())
    (job,) = engine.jobs
    job.put(END)
    assert job.cancelled
