"""Failures of an engine in another process: death, refusal, strangers."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS, eventually
from tests.warming import load_warm, runtime, spec_of
from tulu_cli.core import EngineInfo, Score, ScoreRequest, Text
from tulu_cli.engines.base import Engine
from tulu_cli.engines.choose import load
from tulu_cli.engines.remote.pool import FIRST, MOST, Room, answer_all
from tulu_cli.engines.remote.transport import LONGEST
from tulu_cli.errors import EngineDied, EngineError, PromptTooLong, UsageError
from tulu_cli.loading import servers
from tulu_cli.warm.endpoint import ChatServer, Endpoint
from tulu_cli.warm.finder import warm_engines

from .loading import Asker

LONG = {"ignore_eos": True, "max_tokens": 1900}


@pytest.fixture
def root() -> Iterator[Path]:
    with runtime() as directory:
        yield directory


@pytest.fixture
def fake(root: Path, demo_directory: Path) -> Iterator[Engine]:
    """The fake engine, warm."""
    with closing(load_warm("fake", demo_directory)) as engine:
        yield engine


def test_a_server_that_dies_in_mid_answer_is_a_death_with_its_last_error(
    fake: Engine, asker: Asker
) -> None:
    (running,) = warm_engines()
    events = fake.stream(asker.request(**LONG))
    assert isinstance(next(events), Text)
    with (running.folder / "log").open("a") as log:
        log.write("(EngineCore pid=1) ERROR 01-01 00:00:00 [core.py:1] MemoryError: no room left\n")
    os.kill(running.state.server, signal.SIGKILL)
    with pytest.raises(EngineDied) as caught:
        list(events)
    assert str(caught.value) == (
        "The warm engine of demo is gone. Its last error: MemoryError: no room left."
    )


def test_a_server_that_is_gone_is_a_death_too(fake: Engine, asker: Asker) -> None:
    (running,) = warm_engines()
    os.kill(running.state.supervisor, signal.SIGTERM)
    assert eventually(lambda: not running.folder.exists())
    with pytest.raises(EngineDied, match=r"^The warm engine of demo is gone \(No such file"):
        list(fake.stream(asker.request()))
    ((_, error),) = fake.batch([asker.request()])
    assert isinstance(error, EngineDied)


def test_a_batch_that_is_left_hangs_up(fake: Engine, asker: Asker) -> None:
    (running,) = warm_engines()
    requests = [
        asker.request("Hi", max_tokens=1),
        *(asker.request(**LONG, n=9) for _ in range(40)),
    ]
    answers = fake.batch(iter(requests))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    from tulu_cli.commands.ps import requests_of

    assert eventually(lambda: requests_of(running) == 0)


def test_the_name_of_this_command_is_the_models_and_not_the_servers(fake: Engine) -> None:
    assert (fake.info.model, fake.info.engine) == ("demo", "fake")


Reply = tuple[int, dict[str, Any] | bytes | threading.Event]


class Stranger:
    """A server of the test's own: it gives the replies it was given, and notes what is sent."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.seen: list[tuple[str, str | None]] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers.get("Authorization")))
                outer.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                status, told = outer.replies.pop(0)
                if isinstance(told, threading.Event):
                    told.wait(DEADLINE_SECONDS)
                    return
                data = told if isinstance(told, bytes) else json.dumps(told).encode()
                self.send_response(status)
                if data is not told:
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815 (the name is the library's)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stranger]:
    monkeypatch.setattr("tulu_cli.engines.remote.wire._FIRST_PAUSE_SECONDS", 0.0)
    server = Stranger()
    thread = threading.Thread(target=server.http.serve_forever)
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def models(**changes: Any) -> dict[str, Any]:
    told = {"id": "m", "owned_by": "vllm", "max_model_len": 2048, "root": "org/m"}
    return {"data": [told | changes]}


def chunks(*ids: int) -> bytes:
    lines = [{"choices": [{"index": 0, "text": "", "token_ids": [i]}]} for i in ids]
    last = {"choices": [{"index": 0, "text": "", "token_ids": [], "finish_reason": "length"}]}
    return b"".join(b"data: %s\n\n" % json.dumps(line).encode() for line in [*lines, last])


@pytest.fixture
def remote(stranger: Stranger, demo_directory: Path) -> Engine:
    """An engine at the stranger's URL."""
    info = EngineInfo("vllm", "m", None, stranger.url, "auto", 2048, {})
    endpoint = Endpoint(info, url=f"{stranger.url}/v1", api_key="secret")
    return load(servers.choice_for(endpoint, ""), replace(spec_of(demo_directory), server=endpoint))


def test_a_vllm_at_a_url_is_known_by_what_it_says(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    stranger.replies = [(200, models())]
    found = servers.at_url(stranger.url, "KEY")
    assert isinstance(found, Endpoint)
    assert (found.info.model, found.info.max_model_len, found.root) == ("m", 2048, "org/m")
    assert stranger.seen == [("/v1/models", "Bearer secret")]
    assert "secret" not in repr(found)


def test_a_server_with_another_model_answers_nothing(
    stranger: Stranger, demo_directory: Path
) -> None:
    spec = spec_of(demo_directory)
    for told, fits in (
        (models(id="demo"), True),
        (models(root=str(demo_directory)), True),
        (models(), False),
        (models(root="/nowhere/demo"), False),
    ):
        stranger.replies = [(200, told)]
        endpoint = servers.at_url(stranger.url, None)
        assert isinstance(endpoint, Endpoint)
        if fits:
            servers.check_model(endpoint, spec, say=pytest.fail)
            continue
        with pytest.raises(UsageError, match="runs m, not demo: leave -m out"):
            servers.check_model(endpoint, spec, say=pytest.fail)
    assert isinstance(endpoint, Endpoint)
    assert endpoint.root == "m", "a directory of another machine means nothing here"
    assert endpoint.away == "/nowhere/demo"


@pytest.mark.parametrize(
    ("root", "path", "fits", "words"),
    [
        ("/srv/Qwen2.5-7B", "/here/qwen2.5-7b", True, ""),
        ("/srv/Qwen2.5-7B", "/here/copy", True, "loaded /srv/Qwen2.5-7B; the tokenizer is that of"),
        ("Qwen/Qwen2.5-7B", "/here/Qwen2.5-7B", True, ""),
        ("Qwen/Qwen2.5-7B", "/here/other", False, ""),
        (None, "/here/other", False, ""),
    ],
)
def test_a_directory_that_is_named_for_an_alias_is_believed(
    stranger: Stranger, demo_directory: Path, root: str | None, path: str, fits: bool, words: str
) -> None:
    stranger.replies = [(200, models(id="prod", root=root))]
    endpoint = servers.at_url(stranger.url, None)
    assert isinstance(endpoint, Endpoint)
    said: list[str] = []
    spec = replace(spec_of(demo_directory), name=path)
    if fits:
        servers.check_model(endpoint, spec, is_path=True, say=said.append)
    else:
        with pytest.raises(UsageError, match=f"runs prod, not {path}: leave -m out"):
            servers.check_model(endpoint, spec, is_path=True, say=said.append)
    assert len(said) == bool(words)
    assert words in "".join(said)


BASE = {"id": "prod", "owned_by": "vllm", "max_model_len": 2048, "root": "org/base"}
ALSO = BASE | {"id": "prod-2"}
LORA = {"id": "sql", "owned_by": "vllm", "root": "/srv/sql", "parent": "prod"}
OTHER = BASE | {"id": "small", "root": "org/small", "max_model_len": 512}


@pytest.mark.parametrize(
    ("rows", "asked", "model", "root", "length"),
    [
        ([BASE, ALSO, LORA], None, "prod", "org/base", 2048),
        ([LORA, BASE], None, "prod", "org/base", 2048),
        ([BASE, ALSO], "prod-2", "prod-2", "org/base", 2048),
        ([BASE, LORA], "sql", "sql", "org/base", 2048),
        ([BASE, OTHER], "small", "small", "org/small", 512),
        ([BASE, OTHER], "org/small", "small", "org/small", 512),
        ([BASE], "8b", "prod", "org/base", 2048),
        ([BASE | {"root": None}], None, "prod", "prod", 2048),
    ],
)
def test_which_of_the_models_of_a_server_is_meant(
    stranger: Stranger, rows: Any, asked: str | None, model: str, root: str, length: int
) -> None:
    stranger.replies = [(200, {"data": rows})]
    found = servers.at_url(stranger.url, None, asked)
    assert isinstance(found, Endpoint)
    assert (found.info.model, found.root, found.info.max_model_len) == (model, root, length)


def test_a_model_with_two_names_has_its_adapters_by_either(stranger: Stranger) -> None:
    for asked in ("prod", "prod-2"):
        stranger.replies = [(200, {"data": [BASE, ALSO, LORA]})]
        found = servers.at_url(stranger.url, None, asked)
        assert isinstance(found, Endpoint)
        assert found.adapters == ("sql",)


def test_of_models_that_differ_one_has_to_be_named(stranger: Stranger) -> None:
    for asked in (None, "8b"):
        stranger.replies = [(200, {"data": [BASE, OTHER, LORA]})]
        with pytest.raises(UsageError, match="has several models: -m takes prod, small, sql"):
            servers.at_url(stranger.url, None, asked)


@pytest.mark.parametrize(
    "told",
    [{}, {"data": []}, {"data": [3]}, [], models(owned_by="library"), models(max_model_len=None)],
    ids=str,
)
def test_a_server_that_takes_no_token_ids_is_given_messages(stranger: Stranger, told: Any) -> None:
    stranger.replies = [(200, told)]
    found = servers.at_url(stranger.url, None)
    assert isinstance(found, ChatServer)
    assert servers.choice_for(found, "").engine == "remote.chat"
    assert (found.models, found.url) == (("m",) if "owned_by" in str(told) else (), stranger.url)


def test_a_server_that_lists_no_models_may_have_some(stranger: Stranger) -> None:
    for status in (404, 405, 501):
        stranger.replies = [(status, {"detail": "Not Found"})]
        found = servers.at_url(stranger.url, None)
        assert isinstance(found, ChatServer)
        assert found.models == ()
    stranger.replies = [(418, {"error": "I am a teapot"})]
    with pytest.raises(EngineError, match="teapot"):
        servers.at_url(stranger.url, None)


def test_what_is_no_server_is_said(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger.replies = [(200, b"<html>"), (401, {"error": "Unauthorized"})]
    with pytest.raises(EngineError, match="sent '<html>' instead of JSON: check"):
        servers.at_url(stranger.url, None)
    with pytest.raises(
        EngineError, match=r"requires a key \(Unauthorized\): name .* --api-key-env"
    ):
        servers.at_url(stranger.url, None)
    odd = ("http://me:secret@x", "http://x?key=secret", "http://x#a")
    for url in ("gpu01:8000", "http://x:y", "ftp://x", "http://[x", "", *odd):
        with pytest.raises(UsageError, match="--server takes a URL such as") as caught:
            servers.at_url(url, None)
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="--api-key-env NO_KEY: that variable is not set"):
        servers.at_url(stranger.url, "NO_KEY")
    with pytest.raises(EngineDied, match="refused"):
        servers.at_url("http://127.0.0.1:9", None)


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(
    stranger: Stranger, remote: Engine, asker: Asker
) -> None:
    stranger.replies = [(429, {}), (503, {}), (200, chunks(504, 6376) + b"data: [DONE]\n\n")]
    events = list(remote.stream(asker.request()))
    assert "".join(event.text for event in events if isinstance(event, Text)) == "The sky"
    assert stranger.seen == [("/v1/completions", "Bearer secret")] * 3
    stranger.replies = [(429, {"error": {"message": "Busy."}})] * 5
    with pytest.raises(EngineError, match=r"refused the request \(429\): Busy\.$"):
        list(remote.stream(asker.request()))
    stranger.replies = [(400, {"object": "error", "message": "No such thing"})]
    with pytest.raises(EngineError, match=r"\(400\): No such thing\.$"):
        list(remote.stream(asker.request()))


def test_a_score_is_asked_for_again_of_a_busy_server(stranger: Stranger, remote: Engine) -> None:
    scored = {"choices": [{"prompt_logprobs": [None, {"6376": {"logprob": -1.5}}]}]}
    refused = {"error": {"message": "Busy."}}
    stranger.replies = [(503, {}), (200, scored), *[(429, refused)] * 5, (200, b"<html>")]
    asked = [ScoreRequest((504, 6376), 1)]
    ((_, score),) = remote.score(asked)
    assert isinstance(score, Score)
    assert [(entry.token_id, entry.logprob) for entry in score.tokens] == [(6376, -1.5)]
    ((_, error),) = remote.score(asked)
    assert str(error) == "The server refused the request (429): Busy."
    ((_, error),) = remote.score(asked)
    assert "sent '<html>' instead of JSON" in str(error)


def test_a_defect_in_a_thread_comes_out_of_a_batch() -> None:
    def answer(number: int) -> int:
        return 1 // number

    left: list[bool] = []
    answers = answer_all([0] * 50, answer, lambda: left.append(True), Room())
    with pytest.raises(ZeroDivisionError):
        list(answers)
    assert left == [True]


@pytest.mark.parametrize(("status", "is_gateways"), [(504, True), (502, False), (524, True)])
def test_a_batch_asks_for_whole_answers_until_a_gateway_has_given_up_on_one(
    stranger: Stranger,
    remote: Engine,
    asker: Asker,
    status: int,
    is_gateways: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(number: int) -> tuple[bool, tuple[str, ...]]:
        body = json.loads(stranger.bodies[number])
        return body["stream"], tuple(body.get("stop", ()))

    ids = {"index": 0, "text": "The sky", "token_ids": [504, 6376], "finish_reason": "stop"}
    whole = {"choices": [ids], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    asked = [asker.request(stop=("!", ""))]
    stranger.replies = [(200, whole)]
    if not is_gateways:  # of a server that refuses at once the whole answer is asked for again
        stranger.replies += [(status, {}), (200, json.dumps(whole).encode())]
    while stranger.replies:
        ((_, answer),) = remote.batch(asked)
        assert isinstance(answer, list)
        assert (answer[0].text, answer[0].token_ids) == ("The sky", (504, 6376))
    assert {told(number) for number in range(len(stranger.bodies))} == {(False, ("!",))}
    stranger.bodies.clear()
    if not is_gateways:
        monkeypatch.setattr("tulu_cli.engines.remote.wire._SILENT_SECONDS", 0.0)
    stranger.replies = [(status, {}), *[(200, chunks(504, 6376) + b"data: [DONE]\n\n")] * 2]
    for _ in range(2):
        ((_, answer),) = remote.batch(asked)
        assert isinstance(answer, list)
        assert answer[0].text == "The sky"
    assert [told(number) for number in range(3)] == [(False, ("!",)), (True, ()), (True, ())]


def test_a_batch_that_is_left_asks_for_nothing_again(
    stranger: Stranger, remote: Engine, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tulu_cli.engines.remote.wire._SILENT_SECONDS", 0.0)
    free = threading.Event()
    stranger.replies = [(200, free), (200, free)]
    answers = remote.batch(asker.request() for _ in range(2))
    thread = threading.Thread(target=lambda: list(answers))
    thread.start()
    assert eventually(lambda: len(stranger.bodies) == 2)
    remote.close()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    free.set()
    assert len(stranger.bodies) == 2, "not asked for as streams"


@pytest.mark.parametrize("finish", ["abort", "error"])
def test_an_answer_that_the_server_broke_off_is_a_death(
    stranger: Stranger, remote: Engine, asker: Asker, finish: str
) -> None:
    ids = {"index": 0, "text": "The", "token_ids": [504], "finish_reason": finish}
    stranger.replies = [(200, {"choices": [ids]}), (200, {"choices": []})]
    for _ in range(2):
        ((_, error),) = remote.batch([asker.request()])
        assert isinstance(error, EngineDied)
        assert str(error) == f"The server at {stranger.url}/v1 broke off an answer."


def test_an_empty_answer_is_asked_for_again(
    stranger: Stranger, remote: Engine, asker: Asker
) -> None:
    ids = {"index": 0, "text": "The", "token_ids": [504], "finish_reason": "stop"}
    stranger.replies = [(200, b""), (200, {"choices": [ids]})]
    ((_, answer),) = remote.batch([asker.request()])
    assert isinstance(answer, list)
    assert answer[0].text == "The"


def test_a_whole_answer_may_be_long(stranger: Stranger, remote: Engine, asker: Asker) -> None:
    ids = {"index": 0, "text": "The", "token_ids": [504], "finish_reason": "stop"}
    stranger.replies = [(200, {"choices": [ids], "padding": "x" * (LONGEST + 1)})]
    ((_, answer),) = remote.batch([asker.request()])
    assert isinstance(answer, list), answer


def test_a_server_is_given_more_until_some_requests_wait_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tulu_cli.engines.remote.pool._LOOK_SECONDS", 0.0)
    takes, free = 100, threading.Semaphore(0)
    most = running = 0
    lock = threading.Lock()

    def answer(_number: int) -> None:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        free.acquire()
        with lock:
            running -= 1

    def waiting() -> int:
        # All that it was given have begun, but for the one that is being answered.
        assert eventually(lambda: running >= room.size - 2 or is_ending.is_set())
        return 1 if is_ending.is_set() else max(0, running - takes)

    room, is_ending = Room(waiting), threading.Event()
    answers = answer_all(range(1000), answer, lambda: None, room)
    for count in range(1000):
        if count == 700:
            is_ending.set()
        free.release()
        next(answers)
    # 32, 64, and 128, of which some wait
    assert (room.size, most) == (4 * FIRST, 4 * FIRST)


def test_a_number_that_was_chosen_stays_and_all_servers_together_have_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tulu_cli.engines.remote.pool._LOOK_SECONDS", 0.0)

    def grown(room: Room) -> int:
        room.open()
        for _ in range(12):
            room.look(lambda ask: ask())
        return room.size

    chosen, unknown, alone = Room(lambda: 0, 7), Room(), Room(lambda: 0)
    assert [grown(room) for room in (chosen, unknown, alone)] == [7, FIRST, MOST]
    others = [Room(lambda: 0) for _ in range(10)]
    sizes = [grown(room) for room in others]
    assert sizes[:2] == [MOST, MOST]
    assert sizes[-1] == FIRST, "what a server is given at least"
    for room in (chosen, unknown, alone, *others):
        room.close()
    again = Room(lambda: 0)
    assert grown(again) == MOST, "the room of those that ended is free again"
    again.close()
    again.open()
    assert again.size == MOST, "as large as it was in the batch before"
    again.close()


def test_a_server_that_does_not_tell_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.engines.remote.pool._LOOK_SECONDS", 0.0)
    told = iter([None, None, 0, None, None, None, 0])
    room = Room(lambda: next(told))
    room.open()
    for _ in range(9):
        room.look(lambda ask: ask())
    assert (room.size, next(told)) == (2 * FIRST, 0)
    room.close()


def test_requests_are_no_more_than_the_open_files_that_this_process_may_have() -> None:
    own = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (100, {most}))\n"
        "from tulu_cli.engines.remote.pool import Room\n"
        "room = Room(fixed={fixed}); room.open(); print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )

    def ran(most: int, fixed: int) -> subprocess.CompletedProcess[str]:
        script = own.format(most=most, fixed=fixed)
        return subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )

    assert ran(400, 300).stdout == "400\n", "as many as it may"
    assert "--in-flight 400: each request is an open file, and this process" in ran(400, 400).stderr


def test_where_there_are_no_more_threads_requests_wait_for_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = threading.Thread.start
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        began(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    answers = answer_all(range(50), str, lambda: None, Room())
    assert dict(answers) == {number: str(number) for number in range(50)}


def test_an_answer_without_its_end_is_a_death_and_keeps_what_came(
    stranger: Stranger, remote: Engine, asker: Asker
) -> None:
    stranger.replies = [(200, chunks(504, 6376)[:-20])]
    seen: list[Any] = []
    with pytest.raises(EngineDied):
        seen.extend(remote.stream(asker.request()))
    assert [event.text for event in seen if isinstance(event, Text)] == ["The", " sky"]


def test_an_empty_finish_reason_ends_nothing(
    stranger: Stranger, remote: Engine, asker: Asker
) -> None:
    told = chunks(504, 6376).replace(b'"token_ids"', b'"finish_reason": "", "token_ids"', 2)
    stranger.replies = [(200, told + b"data: [DONE]\n\n")]
    events = list(remote.stream(asker.request()))
    assert "".join(event.text for event in events if isinstance(event, Text)) == "The sky"


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [], "usage": {"prompt_tokens": 1}, "metrics": "none"},
        {"choices": [{"index": 3, "text": "", "token_ids": [504]}]},
        {"choices": [{"index": 0, "text": ""}]},
        {"choices": [{"index": 0, "text": "", "token_ids": ["The"]}]},
        {"choices": [{"index": 0, "text": "", "token_ids": [504], "logprobs": {}}]},
        {"choices": [7]},
        {"choices": 7},
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error_of_its_server(
    odd: dict[str, Any], stranger: Stranger, remote: Engine, asker: Asker
) -> None:
    stranger.replies = [(200, b"data: %s\n\n" % json.dumps(odd).encode())]
    with pytest.raises(EngineError, match=rf"server at {stranger.url}/v1 cannot be read: \w+Error"):
        list(remote.stream(asker.request(temperature=0.5)))


@pytest.mark.parametrize("error", [AttributeError, KeyError, TypeError, ValueError])
def test_a_defect_of_ours_is_no_error_of_the_server(
    error: type[Exception],
    stranger: Stranger,
    remote: Engine,
    asker: Asker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def push(*_: Any) -> Iterator[Text]:
        raise error("a defect")

    monkeypatch.setattr("tulu_cli.engines.assemble.ChoiceAssembler.push", push)
    stranger.replies = [(200, chunks(504))]
    with pytest.raises(error, match="a defect"):
        list(remote.stream(asker.request()))


def test_an_error_in_mid_stream_has_its_class(
    stranger: Stranger, remote: Engine, asker: Asker
) -> None:
    error = {"error": {"message": "Too long.", "class": "PromptTooLong"}}
    stranger.replies = [(200, b"data: %s\n\n" % json.dumps(error).encode())]
    with pytest.raises(PromptTooLong, match=r"^Too long\.$"):
        list(remote.stream(asker.request()))
    died = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    error = {"error": {"message": died, "type": "InternalServerError"}}
    stranger.replies = [(200, b"data: %s\n\n" % json.dumps(error).encode())]
    with pytest.raises(EngineDied, match="does not answer: its worker died"):
        list(remote.stream(asker.request()))
    error = {"error": {"message": "x", "type": "ExitCode"}}
    stranger.replies = [(200, b"data: %s\n\n" % json.dumps(error).encode())]
    with pytest.raises(EngineError, match=r"\(200\): x"):
        list(remote.stream(asker.request()))


@pytest.mark.parametrize("name", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_warm_engine_gives_the_tokens_of_one_in_process(
    name: str, loaded_engines: Callable[[str], Engine], asker: Asker
) -> None:
    from tulu_cli.engines.assemble import collect

    here, there = loaded_engines(name), loaded_engines(f"warm {name}")
    for text in ("Why is the sky blue?", "Name five fruits. 🍎"):
        for changes in (
            {"temperature": 0.0},
            {"temperature": 0.8, "seed": 5, "top_p": 0.9, "n": 2},
        ):
            request = asker.request(text, max_tokens=8, **changes)
            one, other = collect(here.stream(request)), collect(there.stream(request))
            assert [choice.token_ids for choice in one] == [choice.token_ids for choice in other]
            assert [choice.text for choice in one] == [choice.text for choice in other]
