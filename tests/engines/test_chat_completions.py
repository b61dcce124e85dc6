"""Servers that make their own prompt, over real HTTP: what each kind gives, and what it lacks."""

import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from tests.foreign_server import (
    EVENT_STREAM,
    WORDS,
    ForeignServer,
    Reply,
    Respond,
    answer,
    careless,
    end_chunk,
    event,
    json_reply,
    refuse,
    serving,
    stream,
    strict,
    text_chunk,
)
from tests.program import DEADLINE_SECONDS
from tulu_cli.core import Completion, Constraint, Done, Message, Request, Sampling, Text, Usage
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import Engine, ServedModel
from tulu_cli.engines.choose import load
from tulu_cli.engines.remote.tokens import RemoteEngine
from tulu_cli.engines.remote.wire import Wire
from tulu_cli.errors import (
    EngineDied,
    EngineError,
    ModelNotFound,
    PromptTooLong,
    TuluError,
    UsageError,
)
from tulu_cli.loading import servers
from tulu_cli.protocol.chat import CANNOT
from tulu_cli.warm.endpoint import ChatServer
from tulu_cli.warm.unix_http import UnixConnection

from .loading import Asker, usage_of

ASKED = (Message("system", "Be brief."), Message("user", "Why is the sky blue?"))
BLUE = "The sky is blue."


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.engines.remote.wire._FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def server() -> Iterator[ForeignServer]:
    with serving(strict) as running:
        yield running


def engine_at(url: str, model: str = "blue-1") -> Engine:
    server = ChatServer(url=url, api_key="secret")
    return load(servers.choice_for(server, ""), ServedModel(model, server))


@pytest.fixture
def engine(server: ForeignServer) -> Engine:
    return engine_at(server.url)


def request(**sampling: Any) -> Request:
    return Request(ASKED, Sampling(**sampling))


def ask(engine: Engine, **sampling: Any) -> list[Completion]:
    return collect(engine.stream(request(**sampling)))


def broken(engine: Engine, **sampling: Any) -> tuple[str, TuluError]:
    """The text that came, and the error that ended it."""
    seen: list[Text | Done] = []
    with pytest.raises(TuluError) as caught:
        seen.extend(engine.stream(request(**sampling)))
    return "".join(one.text for one in seen if isinstance(one, Text)), caught.value


def test_an_answer_with_all_that_is_told_of_it(server: ForeignServer, engine: Engine) -> None:
    (choice,) = ask(engine, temperature=0.5, top_p=0.9, seed=7, max_tokens=4)
    assert (choice.text, choice.token_ids) == ("The sky is blue", ())
    assert (choice.done.finish_reason, choice.done.stop, choice.done.seed) == ("length", None, 7)
    usage = usage_of(choice.done)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (7, 4, 3)
    assert 0 < choice.done.timings.first_token <= choice.done.timings.total
    (seen,) = server.seen
    assert (seen.path, seen.key) == ("/v1/chat/completions", "Bearer secret")
    assert seen.body == {
        "model": "blue-1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why is the sky blue?"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_text_comes_as_it_is_sent(engine: Engine) -> None:
    events = engine.stream(request())
    assert [next(events), next(events)] == [Text("The"), Text(" sky")]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/api", "/api/v1"])
def test_a_url_may_have_a_path_and_the_version(server: ForeignServer, path: str) -> None:
    ask(engine_at(f"{server.url}{path}"))
    assert server.seen[0].path == f"{'/api' if 'api' in path else ''}/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/v1beta/openai", "/v1beta/openai"),
        ("/v1/openai/", "/v1/openai"),
        ("/api/paas/v4", "/api/paas/v4"),
        ("/v1p1beta1/x/openapi", "/v1p1beta1/x/openapi"),
        ("/v1/chat/completions", "/v1"),
        ("/v1/chat/completions/ ", "/v1"),
        ("/v1/completions", "/v1"),
        ("/v1/models", "/v1"),
        ("/chat/completions", ""),
        ("/v1beta/openai/chat/completions", "/v1beta/openai"),
        ("/v100-cluster", "/v100-cluster/v1"),
        ("/chat", "/chat/v1"),
    ],
)
def test_a_url_is_the_base_of_a_version_or_a_whole_endpoint(
    server: ForeignServer, path: str, base: str
) -> None:
    ask(engine_at(f"{server.url}{path}"))
    assert server.seen[0].path == f"{base}/chat/completions"


def test_a_path_that_is_not_there_is_named(server: ForeignServer) -> None:
    server.replies = [json_reply({"detail": "Not Found"}, 404)]
    _, error = broken(engine_at(f"{server.url}/api"))
    assert str(error) == (
        "The server refused the request (404): Not Found. "
        f"It was sent to {server.url}/api/v1/chat/completions."
    )


def test_several_choices_are_counted_together_in_the_first(engine: Engine) -> None:
    choices = ask(engine, n=3)
    assert [choice.text for choice in choices] == [BLUE] * 3
    assert [usage_of(choice.done).completion_tokens for choice in choices] == [15, 0, 0]
    assert {usage_of(choice.done).prompt_tokens for choice in choices} == {7}


def test_greedy_choices_are_asked_for_once(server: ForeignServer, engine: Engine) -> None:
    choices = ask(engine, n=3, temperature=0.0)
    assert [choice.text for choice in choices] == [BLUE] * 3
    assert not {"n", "seed"} & server.seen[0].body.keys()


def test_log_probabilities_have_texts_for_tokens(server: ForeignServer, engine: Engine) -> None:
    (choice,) = ask(engine, logprobs=2)
    first = choice.logprobs[0]
    assert len(choice.logprobs) == 5
    assert (first.token_id, first.logprob) == ("The", -0.5)
    assert first.top == (("The", -0.5), ("?", -math.inf))
    assert server.seen[0].body["top_logprobs"] == 2


def test_a_schema_goes_as_the_response_format(server: ForeignServer, engine: Engine) -> None:
    ask(engine, constraint=Constraint("json_schema", '{"type": "object"}'))
    assert server.seen[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
    }


def test_stop_strings_end_an_answer_on_any_server(server: ForeignServer, engine: Engine) -> None:
    (choice,) = ask(engine, stop=(" is",))
    assert (choice.text, usage_of(choice.done).completion_tokens) == ("The sky", 2)
    assert server.seen[0].body["stop"] == [" is"]
    server.respond = careless
    for stop in ("sky is b", " blue", "."):
        (choice,) = ask(engine, stop=("never", stop))
        assert choice.text == BLUE[: BLUE.index(stop)]
        assert (choice.done.finish_reason, choice.done.stop) == ("stop", stop)
    (choice,) = ask(engine, stop=(". And",))
    assert (choice.text, choice.done.stop) == (BLUE, None)


def test_a_stop_string_that_the_server_tells_is_reported(server: ForeignServer) -> None:
    end = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": " is"}
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    server.replies = [stream(text_chunk(0, "The sky"), {"choices": [end]}, usage)]
    (choice,) = ask(engine_at(server.url), stop=(" is",))
    assert (choice.text, choice.done.stop) == ("The sky", " is")
    assert choice.done.usage is not None


def said_with(finish: Any, text: str = "") -> dict[str, Any]:
    """As a chunk says that its choice has ended for this reason."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


@pytest.mark.parametrize("none", ["", " ", "null", "None", "undefined", 0, False, {}, [], None])
def test_a_finish_reason_that_says_nothing_ends_nothing(server: ForeignServer, none: Any) -> None:
    pieces = [said_with(none, word) for word in WORDS]
    server.replies = [stream(*pieces, said_with("length"), said_with(none))]
    (choice,) = ask(engine_at(server.url))
    assert (choice.text, choice.done.finish_reason) == (BLUE, "length")
    death = Reply(200, tuple(map(event, pieces)), EVENT_STREAM)
    server.replies = [death]
    said, error = broken(engine_at(server.url))
    assert said == BLUE
    assert isinstance(error, EngineDied)


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        *((told, "stop") for told in ("eos", "end_turn", "STOP", "FinishReason.stop", 1, True)),
        *((told, "stop") for told in ("stop_sequence", "tool_calls", {"type": "stop"})),
        *((told, "length") for told in ("MAX_TOKENS", "FinishReason.LENGTH", "model_length")),
    ],
    ids=str,
)
def test_a_finish_reason_is_known_by_the_names_that_servers_have(
    server: ForeignServer, told: Any, meant: str
) -> None:
    server.replies = [Reply(200, (event(said_with(told, BLUE)),), EVENT_STREAM)]
    (choice,) = ask(engine_at(server.url))
    assert (choice.text, choice.done.finish_reason) == (BLUE, meant)


@pytest.mark.parametrize("told", ["SAFETY", "content_filter: OTHER", "abort"])
def test_an_answer_that_the_server_broke_off_keeps_what_came(
    server: ForeignServer, told: str
) -> None:
    server.replies = [stream(text_chunk(0, BLUE), said_with(told))]
    said, error = broken(engine_at(server.url), stop=(". And",))
    assert said == BLUE
    assert "broke off: " in str(error)


def test_text_after_an_end_is_part_of_the_answer(server: ForeignServer, engine: Engine) -> None:
    words = [text_chunk(0, word) for word in WORDS]
    for chunks in (
        [said_with("stop"), *words],
        [said_with("stop"), *words, said_with("stop")],
        [said_with("stop", word) for word in WORDS],
        [*words[:3], said_with("stop"), *words[3:]],
    ):
        server.replies = [stream(*chunks)] * 2
        (choice,) = ask(engine)
        assert (choice.text, choice.done.finish_reason) == (BLUE, "stop")
        ((_, answers),) = engine.batch([request(stop=("sky is blue",))])
        assert not isinstance(answers, TuluError)
        assert (answers[0].text, answers[0].done.stop) == ("The ", "sky is blue")
    server.replies = [Reply(200, tuple(map(event, [said_with("stop"), *words])), EVENT_STREAM)]
    said, error = broken(engine, stop=(". And",))
    assert said == BLUE
    assert isinstance(error, EngineDied)


def delta(finish: str | None = None, **told: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": told, "finish_reason": finish}]}


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}


@pytest.mark.parametrize(
    "told",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "content": ""},
        {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}]},
        {"thinking": "Hm."},
        {"content": [THOUGHT]},
    ],
    ids=str,
)
def test_a_thought_is_told_from_the_answer(
    server: ForeignServer, engine: Engine, told: dict[str, Any]
) -> None:
    answer = delta("stop", content=[{"type": "text", "text": BLUE}])
    counted = {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4}}
    counts = {"choices": [], "usage": {"prompt_tokens": 5, **counted}}
    server.replies = [stream(delta(**told), answer, counts)] * 2
    (choice,) = ask(engine)
    assert (choice.reasoning, choice.text) == ("Hm.", BLUE)
    assert choice.done.usage == Usage(5, 9, 0, 4)
    assert list(engine.batch([request()])) == [(0, [replace(choice, done=ANY)])]
    for finish in ("stop", "length"):  # a thought that was cut is no answer, and no error here
        server.replies = [stream(delta(**told), delta(finish))]
        (choice,) = ask(engine)
        assert (choice.reasoning, choice.text) == ("Hm.", "")
        assert choice.done.finish_reason == finish
        assert choice.is_thought_alone


def test_variables_go_to_the_template_of_the_server(server: ForeignServer, engine: Engine) -> None:
    server.replies = [stream(delta("stop", content=BLUE))] * 2
    for variables in ({}, {"enable_thinking": False}):
        list(engine.stream(replace(request(), variables=variables)))
        assert server.seen[-1].body.get("chat_template_kwargs", {}) == variables


def test_an_answer_may_be_empty_and_a_call_is_none(server: ForeignServer, engine: Engine) -> None:
    server.replies = [stream(delta(role="assistant", content=""), delta("stop"))]
    assert ask(engine)[0].text == ""
    call = {"index": 0, "function": {"name": "weather", "arguments": "{}"}}
    server.replies = [stream(delta(tool_calls=[call]), delta("tool_calls"))]
    assert "sent calls of tools alone, and no answer." in str(broken(engine)[1])


def test_a_server_without_usage_has_unknown_counts(server: ForeignServer, engine: Engine) -> None:
    server.respond = careless
    (choice,) = ask(engine)
    assert choice.text == BLUE
    assert choice.done.usage is None
    assert choice.done.tokens_per_second == 0


def test_what_a_server_leaves_out_is_said(server: ForeignServer, engine: Engine) -> None:
    server.respond = careless
    said, error = broken(engine, n=3)
    assert said == BLUE
    assert isinstance(error, UsageError)
    assert f"--n 3: the server at {server.url} gives 1 only" in str(error)
    said, error = broken(engine, logprobs=1)
    assert said == ""
    assert isinstance(error, UsageError)
    assert "--logprobs: the server" in str(error)
    server.respond = lambda _body: stream()
    assert "sent an empty answer" in str(broken(engine)[1])


@pytest.mark.parametrize(
    "sampling",
    [
        {"top_k": 5},
        {"min_p": 0.1},
        {"repetition_penalty": 1.1},
        {"ignore_eos": True},
        {"constraint": Constraint("regex", "a")},
        {"constraint": Constraint("choice", '["a", "b"]')},
    ],
    ids=str,
)
def test_what_the_protocol_has_no_word_for_is_refused(
    server: ForeignServer, engine: Engine, sampling: dict[str, Any]
) -> None:
    _, error = broken(engine, **sampling)
    assert isinstance(error, UsageError)
    assert f"cannot be asked of the server at {server.url}: {CANNOT['top_k']}" in str(error)
    assert server.seen == []


@pytest.mark.parametrize(
    ("reply", "kind", "complaint"),
    [
        (refuse(400, "No.\x1b[2J\nThat\x00 is it."), EngineError, r"\(400\): No.*That.* is it\.$"),
        (refuse(400, "x" * 9999), EngineError, r"x{500} \[\.\.\.\]\.$"),
        (
            refuse(401, "Bad key."),
            EngineError,
            r"requires a key \(Bad key\): name .* --api-key-env",
        ),
        (refuse(403, "Not you."), EngineError, "--api-key-env"),
        (refuse(400, "Too long.", code="context_length_exceeded"), PromptTooLong, "Too long"),
        (refuse(404, "No model."), EngineError, r"\(404\): No model\. It was sent to http"),
        (
            json_reply({"detail": "Not Found"}, 404),
            EngineError,
            r"\(404\): Not Found\. It was sent",
        ),
        (json_reply([{"error": {"message": "In a list"}}], 422), EngineError, "In a list"),
        (json_reply(3, 418), EngineError, r"\(418\): no reason given"),
        (Reply(400, (b"<h1>Bad</h1>",)), EngineError, r"\(400\): <h1>Bad</h1>\.$"),
        (Reply(400, (b"[" * 99999,)), EngineError, r"\(400\)"),
        (
            Reply(302, (), {"Location": "http://else/v1/chat/completions"}),
            EngineError,
            r"redirects to http://else/v1/chat/completions\. Redirects .* use --server http://else\.$",
        ),
        (Reply(302, (), {"Location": "/api"}), EngineError, r"use --server http://[\d.:]+/api\.$"),
        (Reply(301), EngineError, r"redirects, but does not say where to\.$"),
        (
            Reply(200, (b"<html>",), {"Content-Type": "text/html"}),
            EngineError,
            "sent a web page instead",
        ),
        (Reply(200, (b"data: {\n\n",), EVENT_STREAM), EngineError, "sent '{' instead of JSON"),
        (Reply(200, (b"data: 3\n\n",), EVENT_STREAM), EngineError, "sent '3' instead of JSON"),
        (Reply(200, (b"data: \xff\n\n",), EVENT_STREAM), EngineError, "instead of JSON"),
        (
            Reply(200, (event({"choices": 3}),), EVENT_STREAM),
            EngineError,
            "invalid chat completion",
        ),
        (stream({"choices": [{"delta": {"content": 3}}]}), EngineError, "invalid chat completion"),
        (stream({"choices": ["x"]}), EngineError, "invalid chat completion"),
        (stream({"error": {"message": "Overloaded"}}), EngineError, "Overloaded"),
        (stream(end_chunk(0, "content_filter")), EngineError, "broke off: content_filter"),
    ],
    ids=lambda value: None if isinstance(value, (str, type)) else str(value)[:60],
)
def test_a_refusal_is_said_once_and_not_asked_again(
    server: ForeignServer, engine: Engine, reply: Reply, kind: type[TuluError], complaint: str
) -> None:
    server.replies = [reply]
    with pytest.raises(kind, match=complaint) as caught:
        ask(engine)
    assert not isinstance(caught.value, EngineDied)
    assert "\n" not in str(caught.value)
    assert len(server.seen) == 1


LONG = "The prompt has 9,000 tokens."
TOO_LONG = {"message": LONG, "type": "exceed_context_size_error", "code": 400}


@pytest.mark.parametrize(
    "body",
    [
        b"error: %s\n\n" % json.dumps(TOO_LONG).encode(),
        b"error: %s" % json.dumps({"error": TOO_LONG}).encode(),
        b": hi\r\nevent: error\r\ndata: %s\r\n\r\n" % json.dumps(TOO_LONG).encode(),
        b"event: error\ndata: %s\n\n" % json.dumps({"error": TOO_LONG}).encode(),
        json.dumps({"error": TOO_LONG}).encode(),
        json.dumps({"error": TOO_LONG}, indent=4).encode(),
        json.dumps(TOO_LONG).encode() + b"\n\ndata: [DONE]\n\n",
        event({"error": TOO_LONG}).strip(),
        event(TOO_LONG),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "text/plain"])
def test_a_refusal_in_the_stream_is_seen_in_any_form(
    server: ForeignServer, engine: Engine, body: bytes, kind: str
) -> None:
    if kind == "application/json" and body.startswith(b"{"):
        body = body.removesuffix(b"data: [DONE]\n\n")
    server.replies = [Reply(200, (body,), {"Content-Type": kind})]
    said, error = broken(engine)
    assert (said, type(error)) == ("", PromptTooLong)
    assert str(error) == f"The server says that the prompt is too long: {LONG}"
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"error: out of memory\n\n", r"\(200\): out of memory\."),
        (b"event: error\ndata: overloaded\n\n", r"\(200\): overloaded\."),
        (b'event: error\ndata: "overloaded"\n\n', r"\(200\): overloaded\."),
        (b'error: {"code": 401, "message": "No."}\n\n', r"requires a key \(No\): name"),
        (b'data: {"object": "error", "message": "No.", "code": 400}\n\n', r"\(400\): No\."),
        (b'data: {"detail": "No."}\n\n', r"\(200\): No\."),
        (b'data: {"error": "No."}\n\n', r"\(200\): No\."),
    ],
)
def test_a_refusal_in_the_stream_keeps_what_came(
    server: ForeignServer, engine: Engine, body: bytes, complaint: str
) -> None:
    server.replies = [Reply(200, (event(text_chunk(0, "The")), body), EVENT_STREAM)]
    said, error = broken(engine)
    assert said == "The"
    assert re.search(complaint, str(error))
    assert not isinstance(error, EngineDied)
    assert len(server.seen) == 1


def test_the_type_of_an_answer_is_a_hint(server: ForeignServer, engine: Engine) -> None:
    told = b"".join(careless({}).pieces)
    whole = {"choices": [{"index": 0, "message": {"content": BLUE}, "finish_reason": "stop"}]}
    lines = b"".join(json.dumps(said_with(None, word)).encode() + b"\n" for word in WORDS)
    ended = lines + json.dumps(said_with("stop")).encode()
    for kind, body in (
        ("application/json; charset=utf-8", told),
        ("application/json", b"\r\n: hi\n\nid: 7\n" + told),
        ("application/json", b"\xef\xbb\xbf" + told),
        ("application/octet-stream", told),
        ("text/event-stream", json.dumps(whole).encode()),
        ("text/event-stream", json.dumps(whole, indent=2).encode()),
        ("application/json", json.dumps(whole, indent=2).encode()),
        ("application/x-ndjson", ended),
    ):
        server.replies = [Reply(200, (body,), {"Content-Type": kind})]
        assert ask(engine)[0].text == BLUE, kind
        cut = tuple(bytes([byte]) for byte in body)
        server.replies = [Reply(200, cut, {"Content-Type": kind})]
        assert ask(engine)[0].text == BLUE, kind
    server.replies = [Reply(200, (b"Bad gateway",), {"Content-Type": "application/json"})]
    assert "sent 'Bad gateway' instead of JSON" in str(broken(engine)[1])


def test_a_model_that_is_not_there_is_answered_with_those_that_are(server: ForeignServer) -> None:
    server.respond = lambda _body: refuse(404, "model not found")
    names = ("blue-1", "red\x1b-2", "x" * 200, *map(str, range(30)))
    server.models = {"data": [{"id": name} for name in names]}
    with pytest.raises(ModelNotFound) as caught:
        ask(engine_at(server.url, "green"))
    said = str(caught.value)
    assert f"The server at {server.url} has no model 'green'; -m takes blue-1, 'red" in said
    assert "and 23 more" in said
    assert "\x1b" not in said
    assert len(said) < 400


def test_a_busy_server_is_asked_again(server: ForeignServer, engine: Engine) -> None:
    later = Reply(429, (), {"Retry-After": "0"})
    server.replies = [later, refuse(503, "Loading"), refuse(500, "Oops")]
    assert ask(engine)[0].text == BLUE
    assert len(server.seen) == 4
    server.replies = [refuse(429, "Slow down.")] * 5
    with pytest.raises(EngineError, match=r"\(429\): Slow down\.$"):
        ask(engine)
    assert server.replies == []
    much_later = Reply(429, (b'{"error": "Tomorrow"}',), {"Retry-After": "86400"})
    server.replies = [much_later]
    with pytest.raises(EngineError, match="Tomorrow"):
        ask(engine)


def test_a_server_that_hangs_up_before_it_answers_is_asked_again(
    server: ForeignServer, engine: Engine
) -> None:
    silent = Reply(200, (), EVENT_STREAM)
    comment = Reply(200, (b": thinking\n\n",), EVENT_STREAM)
    server.replies = [silent, comment]
    assert ask(engine)[0].text == BLUE
    assert len(server.seen) == 3


DEATH = Reply(200, (event(text_chunk(0, "The")), event(text_chunk(0, " sky"))), EVENT_STREAM)


def test_a_server_that_dies_in_mid_answer_keeps_what_came(
    server: ForeignServer, engine: Engine
) -> None:
    server.replies = [DEATH]
    said, error = broken(engine)
    assert said == "The sky"
    assert isinstance(error, EngineDied)
    assert f"The server at {server.url} does not answer: it hung up in mid-answer" in str(error)
    assert len(server.seen) == 1


def test_in_a_batch_an_answer_that_broke_off_is_asked_for_again(
    server: ForeignServer, engine: Engine
) -> None:
    server.replies = [DEATH, refuse(429, "Slow down."), DEATH, refuse(400, "Not this one.")]
    found = dict(engine.batch(request(seed=seed) for seed in range(40)))
    assert len(found) == 40
    errors = [one for one in found.values() if isinstance(one, TuluError)]
    assert [str(error) for error in errors] == [
        "The server refused the request (400): Not this one."
    ]
    answers = [one for one in found.values() if not isinstance(one, TuluError)]
    assert [choices[0].text for choices in answers] == [BLUE] * 39
    assert len(server.seen) == 43


def test_a_batch_that_is_left_waits_for_no_one(
    server: ForeignServer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tulu_cli.engines.remote.wire._FIRST_PAUSE_SECONDS", 3600.0)
    server.respond = lambda body: answer(body) if body["seed"] == 0 else refuse(429, "Later.")
    answers = engine.batch(request(seed=seed) for seed in range(9))
    assert next(iter(answers))[0] == 0
    answers.close()  # type: ignore[attr-defined]


def test_a_whole_answer_and_a_stream_without_its_last_word_will_do(
    server: ForeignServer, engine: Engine
) -> None:
    whole = {"choices": [{"index": 0, "message": {"content": BLUE}, "finish_reason": "length"}]}
    usage = {"usage": {"prompt_tokens": 7, "completion_tokens": 5}}
    server.replies = [json_reply(whole | usage)]
    (choice,) = ask(engine)
    assert (choice.text, choice.done.finish_reason) == (BLUE, "length")
    assert usage_of(choice.done).completion_tokens == 5
    unended = Reply(200, (event(text_chunk(0, BLUE)), event(end_chunk(0, "eos"))), EVENT_STREAM)
    server.replies = [unended]
    (choice,) = ask(engine)
    assert (choice.text, choice.done.finish_reason) == (BLUE, "stop")


def test_bytes_may_come_in_any_pieces(server: ForeignServer, engine: Engine) -> None:
    told = b": hi\r\n\r\n" + event(text_chunk(0, "é🍎\u2028"))
    raw = json.dumps(text_chunk(0, "ü🍏"), ensure_ascii=False).encode()
    data = told + b"data:" + raw + b"\r\n\r\n" + event(end_chunk(0, "stop")) + b"data: [DONE]\n\n"
    server.replies = [Reply(200, tuple(bytes([byte]) for byte in data), EVENT_STREAM)]
    (choice,) = ask(engine)
    assert choice.text == "é🍎\u2028ü🍏"


def test_a_parameter_that_a_server_spells_otherwise_is_learnt(
    server: ForeignServer, engine: Engine
) -> None:
    def newest(body: dict[str, Any]) -> Reply:
        if "max_tokens" in body:
            return refuse(400, "'max_tokens' is not supported: use 'max_completion_tokens'.")
        if "stream_options" in body:
            return refuse(422, "stream_options: extra inputs are not permitted")
        return answer({"max_tokens": body["max_completion_tokens"]})

    server.respond = newest
    for _ in range(2):
        assert ask(engine, max_tokens=2)[0].text == "The sky"
    assert len(server.seen) == 4
    server.respond = lambda _body: refuse(400, "max_completion_tokens is too large")
    with pytest.raises(EngineError, match="too large"):
        ask(engine, max_tokens=2)


def in_words(name: str) -> Reply:
    return refuse(400, f"Unrecognized request argument supplied: {name}")


def by_param(name: str) -> Reply:
    return refuse(400, "Unsupported parameter.", param=name)


def by_place(name: str) -> Reply:
    found = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs"}
    return json_reply({"detail": [found]}, 422)


def in_the_stream(name: str) -> Reply:
    return stream({"error": {"message": f"{name}: unknown field", "code": 400}})


def without(name: str, refusal: Callable[[str], Reply]) -> Respond:
    """As a server answers that does not know a parameter."""

    def respond(body: dict[str, Any]) -> Reply:
        return refusal(name) if name in body else careless(body)

    return respond


OPEN = frozenset({"temperature", "top_p", "seed"})
REFUSALS = [in_words, by_param, by_place, in_the_stream]


def test_what_nobody_chose_is_left_to_the_server(server: ForeignServer, engine: Engine) -> None:
    collect(engine.stream(replace(request(max_tokens=2), unchosen=OPEN)))
    collect(engine.stream(replace(request(top_p=1.0), unchosen=OPEN - {"top_p"})))
    assert not {"temperature", "top_p"} & server.seen[0].body.keys()
    assert server.seen[1].body["top_p"] == 1.0
    assert "temperature" not in server.seen[1].body


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("name", ["seed", "stream_options", "stop", "max_tokens"])
def test_what_a_server_can_do_without_is_sent_no_more(
    server: ForeignServer, engine: Engine, name: str, refusal: Callable[[str], Reply]
) -> None:
    server.respond = without(name, refusal)
    asked = replace(request(stop=(" is",), max_tokens=9, seed=5), unchosen=OPEN)
    for _ in range(2):
        (choice,) = collect(engine.stream(asked))
        assert (choice.text, choice.done.stop) == ("The sky", " is")
        assert choice.done.seed == (None if name == "seed" else 5)
    assert len(server.seen) == 3
    assert name not in server.seen[2].body
    assert (server.seen[2].body.get("max_completion_tokens") == 9) == (name == "max_tokens")


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize(
    ("name", "sampling"),
    [
        ("seed", {"seed": 5}),
        ("temperature", {"temperature": 0.5}),
        ("top_p", {"top_p": 0.5}),
        ("n", {"n": 2}),
        ("logprobs", {"logprobs": 1}),
        ("top_logprobs", {"logprobs": 1}),
        ("response_format", {"constraint": Constraint("json_schema", "{}")}),
    ],
)
def test_what_a_user_chose_is_never_left_out(
    server: ForeignServer,
    engine: Engine,
    name: str,
    sampling: dict[str, Any],
    refusal: Callable[[str], Reply],
) -> None:
    server.respond = without(name, refusal)
    if name == "seed":  # though it was learnt from another request that the server has none
        collect(engine.stream(replace(request(), unchosen=OPEN)))
    seen = len(server.seen)
    said, error = broken(engine, **sampling)
    assert said == ""
    assert isinstance(error, EngineError)
    assert len(server.seen) == seen + 1


def test_what_is_no_better_with_another_name_is_not_learnt(
    server: ForeignServer, engine: Engine
) -> None:
    server.respond = lambda body: (
        refuse(400, "max_completion_tokens is unknown")
        if "max_completion_tokens" in body
        else refuse(400, "max_tokens over 4 is not supported")
        if body["max_tokens"] > 4
        else careless(body)
    )
    broken(engine, max_tokens=5)
    assert ask(engine, max_tokens=4)[0].text == BLUE


def relayed(socket: Path) -> Respond:
    """As a model of ours answers whose server calls itself somebody else's."""

    def respond(body: dict[str, Any]) -> Reply:
        connection = UnixConnection(socket)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
        told = connection.getresponse()

        def pieces() -> Iterator[bytes]:
            with closing(connection):
                yield from iter(lambda: told.read1(7), b"")

        return Reply(told.status, pieces(), {"Content-Type": told.headers["Content-Type"]})

    return respond


def test_a_real_model_answers_as_it_does_here(
    server: ForeignServer, loaded_engines: Callable[[str], Engine], asker: Asker
) -> None:
    ours = loaded_engines("warm transformers")
    assert isinstance(ours, RemoteEngine)
    assert ours._endpoint.socket is not None
    server.respond = relayed(ours._endpoint.socket)
    there = engine_at(server.url, "demo")
    for text in ("Why is the sky blue?", "Name five fruits. 🍎"):
        for changes in ({"temperature": 0.0}, {"temperature": 0.8, "seed": 5, "stop": (".",)}):
            sampling = Sampling(max_tokens=16, **changes)
            (one,) = collect(ours.stream(replace(asker.request(text), sampling=sampling)))
            asked = Request((Message("user", text),), sampling)
            (other,) = collect(there.stream(asked))
            assert other.text == one.text
            assert usage_of(other.done).prompt_tokens == usage_of(one.done).prompt_tokens
            assert (other.done.finish_reason, other.done.stop) == (
                one.done.finish_reason,
                one.done.stop if isinstance(one.done.stop, str) else None,
            )
    ((_, answers),) = there.batch([request(temperature=0.0, max_tokens=4)])
    assert not isinstance(answers, TuluError)
    assert usage_of(answers[0].done).completion_tokens == 4


def endless(_body: dict[str, Any]) -> Reply:
    """As a model answers that has no end."""
    return Reply(200, repeat(event(text_chunk(0, "on and "))), EVENT_STREAM)


def test_whoever_has_enough_hangs_up(server: ForeignServer, engine: Engine) -> None:
    server.respond = endless
    events = engine.stream(request())
    assert next(events) == Text("on and ")
    events.close()  # type: ignore[attr-defined]
    assert server.left.wait(DEADLINE_SECONDS)
    server.left.clear()
    (choice,) = ask(engine, stop=("on and on",))
    assert (choice.text, choice.done.stop) == ("", "on and on")
    assert server.left.wait(DEADLINE_SECONDS)


def test_two_requests_at_once_do_not_touch_one_another(
    server: ForeignServer, engine: Engine
) -> None:
    server.respond = endless
    one, other = engine.stream(request()), engine.stream(request())
    assert next(one) == next(other) == Text("on and ")
    one.close()  # type: ignore[attr-defined]
    assert server.left.wait(DEADLINE_SECONDS)
    server.left.clear()
    assert [next(other) for _ in range(1000)] == [Text("on and ")] * 1000
    assert not server.left.is_set()
    other.close()  # type: ignore[attr-defined]
    assert server.left.wait(DEADLINE_SECONDS)


def test_an_engine_that_is_closed_waits_for_no_first_word(
    server: ForeignServer, engine: Engine
) -> None:
    asked, released = threading.Event(), threading.Event()

    def silent(_body: dict[str, Any]) -> Reply:
        asked.set()
        released.wait()
        return Reply()

    server.respond = silent
    ended: list[str] = []
    waiting = threading.Thread(target=lambda: ended.append(broken(engine)[0]))
    waiting.start()
    assert asked.wait(DEADLINE_SECONDS)
    engine.close()
    waiting.join(DEADLINE_SECONDS)
    assert ended == [""]
    released.set()


def test_a_key_that_no_header_can_carry_is_not_shown(server: ForeignServer) -> None:
    for key in ("secrét", "secret\n"):
        with pytest.raises(UsageError, match="The API key cannot be sent") as caught:
            Wire(ChatServer(url=server.url, api_key=key), {})
        assert "secr" not in str(caught.value)
