"""`tulu complete`, `batch` and `chat` on a server that makes its own prompt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.foreign_server import (
    EVENT_STREAM,
    ForeignServer,
    Reply,
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
from tests.program import tulu

QUESTION = "Why is the sky blue?"


@pytest.fixture
def server() -> Iterator[ForeignServer]:
    with serving(strict) as running:
        yield running


def ask(server: ForeignServer, *arguments: str, **options: Any) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of `tulu complete`."""
    done = tulu("complete", "--server", f"{server.url}/v1", *arguments, QUESTION, **options)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_an_answer_and_what_it_took(server: ForeignServer) -> None:
    code, out, err = ask(server, "--stats", "-s", "Be brief.", "--stop", ".")
    assert (code, out) == (0, "The sky is blue\n"), err
    assert err.startswith("tulu: 7 prompt tokens (3 cached), 4 completion tokens, first token")
    roles = [message["role"] for message in server.seen[0].body["messages"]]
    assert roles == ["system", "user"]
    assert server.seen[0].key is None


@pytest.mark.parametrize(
    "flag",
    [
        ("--engine", "vllm"),
        ("--dtype", "float32"),
        ("--quantization", "fp8"),
        ("--tensor-parallel-size", "2"),
        ("--pipeline-parallel-size", "2"),
        ("--gpu-memory-utilization", "0.5"),
        ("--max-model-len", "2048"),
        ("--device", "cpu"),
        ("--engine-arg", "max_num_seqs=8"),
        ("--draft", "ngram"),
        ("--draft-tokens", "6"),
        ("--deterministic",),
    ],
    ids=lambda flag: flag[0].strip("-"),
)
def test_how_an_engine_is_loaded_is_not_asked_of_one_that_runs(
    server: ForeignServer, flag: tuple[str, ...]
) -> None:
    code, out, err = ask(server, *flag)
    assert (code, out, server.seen) == (2, "", [])
    assert err == (
        f"tulu: {flag[0]} is for an engine that is loaded here: {server.url}/v1 answers with what "
        "it was started with. Leave it out, or give --no-server.\n"
    )


def test_what_the_settings_say_of_engines_here_is_for_those(server: ForeignServer) -> None:
    env = {"TULU_ENGINE": "vllm", "TULU_DTYPE": "float32", "TULU_MAX_MODEL_LEN": "2048"}
    code, out, err = ask(server, "--device", "auto", env=env)
    assert (code, out, err) == (0, "The sky is blue.\n", "")


def test_json_holds_what_is_known_and_null_for_the_rest(server: ForeignServer) -> None:
    asked = ("--json", "--n", "2", "--logprobs", "1", "--seed", "7", "--max-tokens", "2")
    code, out, err = ask(server, *asked, "--api-key-env", "KEY", env={"KEY": "secret"})
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["model"], told["prompt_token_ids"]) == ("blue-1", None)
    assert (told["engine"]["device"], told["engine"]["max_model_len"]) == (f"{server.url}/v1", None)
    assert (told["sampling"]["seed"], told["sampling"]["top_k"]) == (7, None)
    assert told["usage"]["completion_tokens"] == 4
    first, second = told["choices"]
    assert (first["text"], first["token_ids"], first["finish_reason"]) == (
        "The sky",
        None,
        "length",
    )
    assert first["logprobs"][0] == {
        "token_id": None,
        "token": "The",
        "logprob": -0.5,
        "top": [{"token_id": None, "token": "The", "logprob": -0.5}],
    }
    assert second["text"] == "The sky"
    assert server.seen[0].key == "Bearer secret"


def test_nothing_is_known_of_a_server_that_counts_nothing(server: ForeignServer) -> None:
    server.respond = careless
    code, out, err = ask(server, "--json", "--stats")
    assert (code, json.loads(out)["usage"]) == (0, None)
    assert err.startswith("tulu: token counts unknown, first token ")


def test_a_schema_is_held_against_the_answer(server: ForeignServer) -> None:
    schema = '{"type": "object", "required": ["sky"]}'
    server.replies = [stream(text_chunk(0, '{"sky": "blue"}')), stream(text_chunk(0, "Blue!"))]
    assert ask(server, "--schema", schema)[:2] == (0, '{"sky": "blue"}\n')
    assert server.seen[0].body["response_format"]["json_schema"]["schema"]["required"] == ["sky"]
    code, _, err = ask(server, "--schema", schema)
    assert (code, "does not satisfy the json schema: it is not JSON" in err) == (1, True)
    code, _, err = ask(server, "--max-tokens", "1", "--fail-on-length")
    assert (code, err) == (8, "tulu: The answer was cut: raise --max-tokens.\n")


DEATH = Reply(200, (event(text_chunk(0, "The sky")),), EVENT_STREAM)


@pytest.mark.parametrize(
    ("reply", "arguments", "code", "out", "complaint"),
    [
        (DEATH, (), 7, "The sky\n", "does not answer: it hung up in mid-answer."),
        (refuse(404, "No."), ("-m", "green"), 5, "", "has no model 'green'; -m takes blue-1."),
        (refuse(401, "No \x1b[2Jkey."), (), 1, "", "requires a key (No \u241b[2Jkey): name"),
        (None, ("--top-k", "5"), 2, "", "--top-k cannot be asked of the server at http"),
        (None, ("--raw",), 2, "", "--raw cannot be asked of the server at http"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_goes_wrong_has_its_code_and_its_sentence(
    server: ForeignServer,
    reply: Reply | None,
    arguments: tuple[str, ...],
    code: int,
    out: str,
    complaint: str,
) -> None:
    server.replies = [] if reply is None else [reply]
    found = ask(server, *arguments)
    assert found[:2] == (code, out)
    assert complaint in found[2]
    assert found[2].count("\n") == 1
    assert len(server.seen) == (reply is not None)


def test_a_setting_that_cannot_be_told_is_said(server: ForeignServer) -> None:
    code, out, err = ask(server, "-v", env={"TULU_TOP_K": "5", "HTTP_PROXY": "http://127.0.0.1:9"})
    assert (code, out) == (0, "The sky is blue.\n")
    assert err.splitlines() == [
        "tulu: top_k = 5 (TULU_TOP_K) is left out: chat completions have no such parameter.",
        "tulu: engine server: asked for by --server",
        f"tulu: model blue-1 in {server.url}/v1",
    ]


def test_what_nobody_set_is_left_to_the_server(server: ForeignServer) -> None:
    ask(server)
    ask(server, env={"TULU_TEMPERATURE": "1.0"})
    code, out, _ = ask(server, "--json", "--top-p", "1")
    first, second, third = (one.body for one in server.seen)
    assert not {"temperature", "top_p"} & first.keys()
    assert (second["temperature"], third["top_p"]) == (1.0, 1.0)
    assert not {"top_p", "temperature"} & {
        *third.keys() - {"top_p"},
        *second.keys() - {"temperature"},
    }
    told = json.loads(out)
    assert (code, told["sampling"]["temperature"], told["sampling"]["top_p"]) == (0, None, 1.0)
    assert told["sampling"]["seed"] == third["seed"] == told["choices"][0]["seed"]


ALIAS = {"id": "prod", "owned_by": "vllm", "max_model_len": 2048, "root": "/srv/models/Qwen"}


@pytest.mark.parametrize(
    ("changes", "arguments", "of"),
    [
        ({}, (), "/srv/models/Qwen"),
        ({}, ("-m", "prod"), "/srv/models/Qwen"),
        ({"root": None}, (), "prod"),
        ({"root": "prod", "id": "org/prod"}, (), "prod"),
        ({"owned_by": "tulu", "root": None}, (), "prod"),
    ],
)
def test_an_alias_of_a_vllm_server_need_not_be_a_model_here(
    server: ForeignServer, changes: dict[str, Any], arguments: tuple[str, ...], of: str
) -> None:
    server.models = {"data": [ALIAS | changes]}
    code, out, err = ask(server, *arguments)
    assert (code, out) == (0, "The sky is blue.\n"), err
    assert err == (
        f"tulu: the tokenizer of {of} is not here, so the server makes the prompt; "
        "-m DIRECTORY names one that is.\n"
    )
    (seen,) = server.seen
    assert (seen.path, seen.body["model"]) == (
        "/v1/chat/completions",
        server.models["data"][0]["id"],
    )


def test_a_tokenizer_that_is_named_for_an_alias_makes_the_prompt(
    server: ForeignServer, demo_directory: Path
) -> None:
    server.models = {"data": [ALIAS]}
    server.respond = lambda _body: refuse(400, "Token ids, then.")
    code, _, err = ask(server, "-m", str(demo_directory))
    assert (code, "Token ids, then." in err) == (1, True)
    assert server.seen[0].path == "/v1/completions"
    assert server.seen[0].body["model"] == "prod"
    assert all(isinstance(token, int) for token in server.seen[0].body["prompt"])
    code, _, err = ask(server, "-m", "nonsense")
    assert (code, len(server.seen)) == (5, 1)
    assert "'nonsense' is not a model." in err
    assert err.endswith("has the model prod.\n")


def without_seed(body: dict[str, Any]) -> Reply:
    found = {"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
    return json_reply({"detail": [found]}, 422) if "seed" in body else careless(body)


def test_a_seed_that_the_server_refuses_is_left_out_or_is_the_error(
    server: ForeignServer, tmp_path: Path
) -> None:
    server.respond = without_seed
    code, out, err = ask(server, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["sampling"]["seed"], told["choices"][0]["seed"]) == (None, None)
    code, _, err = ask(server, "--seed", "7")
    complaint = "refused the request (422): body.seed: Extra inputs are not permitted."
    assert (code, complaint in err) == (1, True)
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b'{"prompt": "a"}\n{"prompt": "b", "sampling": {"seed": 3}}\n')
    done = tulu("batch", str(source), "--in-order", "--server", server.url)
    one, other = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, one["text"], one["seed"]) == (65, "The sky is blue.", None)
    assert complaint in other["error"]["message"]
    lines = b"/set temperature\n/set\nHi\n"
    done = tulu("chat", "--incognito", "--server", server.url, stdin=lines)
    assert b"temperature = the server's own (default)" in done.stderr
    assert b"top_p                the server's own  (default)\n" in done.stdout
    assert done.stdout.endswith(b"The sky is blue.\n")


ROWS = b"""{"id": "a", "prompt": "Why?"}
{"id": "b", "text": "Once upon"}
{"id": "c", "prompt": "Why?", "sampling": {"top_k": 5}}
{"id": "d", "messages": [{"role": "user", "content": "Why?"}], "sampling": {"max_tokens": 2}}
"""


def test_a_batch_has_each_row_once_and_goes_on(server: ForeignServer, tmp_path: Path) -> None:
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(ROWS)
    command = ("batch", str(source), "-o", str(output), "--in-order", "--server")
    server.replies = [DEATH]
    done = tulu(*command, server.url)
    assert done.returncode == 65, done.stderr
    made = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert [row["id"] for row in made] == ["a", "b", "c", "d"]
    assert [row.get("text") for row in made] == ["The sky is blue.", None, None, "The sky"]
    assert made[0]["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    assert "makes the prompt itself, of messages: it takes no plain text" in str(made[1])
    assert "--top-k cannot be asked of" in str(made[2])
    assert len(server.seen) == 3, "one of them was asked for twice"
    assert len({json.dumps(one.body) for one in server.seen}) == 2, "with the same seed"

    lines = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(lines[0] + lines[3][:9])
    done = tulu(*command, f"{server.url}/v1/", "--resume")
    assert done.returncode == 65, done.stderr
    again = [json.loads(line) for line in output.read_bytes().splitlines()]
    named = ("line", "id", "text", "usage", "key")
    assert [[row.get(name) for name in named] for row in again] == [
        [row.get(name) for name in named] for row in made
    ]
    with serving(strict, ("blue-2",)) as other:
        done = tulu(*command, other.url, "--resume")
    assert (done.returncode, b"give the same model" in done.stderr) == (2, True)


def test_a_chat_in_a_pipe(server: ForeignServer) -> None:
    lines = ("Hi", "/continue", "/tokens", "/show prompt", "And now?", "/stats", "/model")
    stdin = "".join(f"{line}\n" for line in lines).encode()
    done = tulu("chat", "--incognito", "--server", server.url, stdin=stdin)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 2, err
    assert out.startswith("The sky is blue.\nThe sky is blue.\nlast answer   7 prompt tokens, of")
    first, second, third, model = err.splitlines()
    assert first == "tulu: The server makes the prompt itself: /retry answers anew."
    assert second == third
    assert "its tokens are not known here" in second
    assert model == "Model: blue-1, context unknown."
    assert [message["role"] for message in server.seen[1].body["messages"]] == [
        "user",
        "assistant",
        "user",
    ]


def test_a_variable_that_a_server_does_not_take_is_not_left_out(server: ForeignServer) -> None:
    code, out, err = ask(server, "--no-think")
    assert (code, out) == (1, "")
    assert "chat_template_kwargs" in err


def test_a_chat_keeps_a_thought_and_does_not_send_it(server: ForeignServer, tmp_path: Path) -> None:
    said = {"choices": [{"index": 0, "delta": {"reasoning_content": "Hm.", "content": "Blue."}}]}
    server.replies = [stream(said, end_chunk(0, "stop")), careless({})]
    chat = ("chat", "--server", server.url, "--no-think", "--reasoning", "show")
    place = {"TULU_DATA_DIR": str(tmp_path)}
    done = tulu(*chat, stdin=b"Hi\nAnd now?\n", env=place)
    assert (done.returncode, done.stderr) == (0, b"Hm.\n")
    assert done.stdout == b"Blue.\nThe sky is blue.\n"
    body = server.seen[-1].body
    assert body["messages"][1] == {"role": "assistant", "content": "Blue."}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    exported = tulu("history", "export", "--format", "openai", env=place).stdout
    assert b'"reasoning_content": "Hm."' in exported


def test_what_a_chat_cannot_do_there_is_refused(server: ForeignServer) -> None:
    arguments = ("--overflow", "drop-oldest")
    done = tulu("chat", "--incognito", "--server", server.url, *arguments, stdin=b"Hi\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"it does not say how long its context is" in done.stderr


def test_an_answer_that_breaks_off_in_a_chat_is_kept(server: ForeignServer, tmp_path: Path) -> None:
    server.replies = [DEATH]
    done = tulu(
        *("chat", "--server", server.url),
        stdin=b"Hi\n/retry\n",
        env={"TULU_DATA_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (7, b"The sky\nThe sky is blue.\n")
    kept = tulu("history", "export", "--format", "tulu", env={"TULU_DATA_DIR": str(tmp_path)})
    (session,) = json.loads(kept.stdout)
    assert [node["content"] for node in session["nodes"]] == [
        "Hi",
        "The sky",
        "The sky is blue.",
    ]


@pytest.mark.parametrize("option", ["--score", "--strict-roles", "--ignore-eos"])
def test_what_a_batch_cannot_ask_is_refused(
    server: ForeignServer, tmp_path: Path, option: str
) -> None:
    output = tmp_path / "out.jsonl"
    done = tulu("batch", "-", "-o", str(output), option, "--server", server.url, stdin=ROWS)
    assert done.returncode == 2
    assert f"{option} cannot be asked of the server".encode() in done.stderr
    assert not output.exists()
    assert not server.seen
