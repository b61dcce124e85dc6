"""`tulu batch --score`, and what else is said of tokens: --logprobs, --strict-roles."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.program import DEADLINE_SECONDS, eventually, running, tulu

SCORE = ("batch", "--score", "--engine", "fake")
ANSWER = ("batch", "--engine", "fake", "--greedy", "--max-tokens", "4")


@pytest.fixture
def model(demo_directory: Path) -> tuple[str, ...]:
    return ("-m", str(demo_directory))


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def many(count: int) -> bytes:
    return lines(
        *({"text": f"word {i} of", "completions": [" many", " x y"]} for i in range(count))
    )


def records(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_answers_in_and_scores_out(model: tuple[str, ...]) -> None:
    # The fake engine is sure that a text goes on as it began; of a tie the first is best.
    ranked = {"id": "r", "text": "one two", "completions": [" six", "one", "one two"], "gold": 1}
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    stdin = lines(ranked, {"messages": chat}, {"prompt": "hi"}, {"text": "a", "completion": " b"})
    done = tulu(*SCORE, *model, "--in-order", stdin=stdin)
    assert done.returncode == 65
    first, second, bad, plain = records(done.stdout)
    assert first["best"] == {"logprob": 1, "per_token": 1, "per_character": 1}
    assert (first["id"], first["columns"]) == ("r", {"gold": 1})
    six, one, both = first["completions"]
    assert six["logprob"] < one["logprob"] == both["logprob"] == 0 == one["per_token"]
    assert (one["greedy"], one["tokens"], both["greedy"], both["tokens"]) == (True, 1, True, 2)
    assert second["tokens"] == 2, "the end token is scored too"
    assert second["logprob"] == pytest.approx(sum(second["token_logprobs"]))
    assert second["per_token"] == second["logprob"] / 2
    assert second["usage"]["completion_tokens"] == 2
    assert bad["error"]["code"] == "bad_input"
    assert "line 3 has nothing to score" in bad["error"]["message"]
    assert (plain["tokens"], plain["usage"]["prompt_tokens"]) == (1, 1)
    assert done.stderr.decode().startswith("tulu: 4 rows, 1 error, ")
    bare = tulu(*SCORE, *model, "--no-end", stdin=lines({"messages": chat}))
    assert records(bare.stdout)[0]["tokens"] == 1, "the end token is left out"


def test_a_row_that_is_too_long_or_fails_keeps_its_place(model: tuple[str, ...]) -> None:
    stdin = lines(
        {"text": "a", "completions": [" b", " word" * 3000]},
        {"text": "fake: fail 0\n", "completion": "x"},
        {"text": "a", "completion": " b"},
    )
    done = tulu(*SCORE, *model, "--in-order", "--max-model-len", "2048", stdin=stdin)
    assert done.returncode == 65
    long, failed, good = records(done.stdout)
    assert long["error"]["code"] == "prompt_too_long"
    assert "The prompt with its completion has 3,001 tokens" in long["error"]["message"]
    assert failed["error"]["code"] == "engine_error"
    assert good["tokens"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-tokens", "3"],
        ["--greedy"],
        ["-n", "2"],
        ["--regex", "x"],
        ["--logprobs", "0"],
        ["--output-format", "openai"],
    ],
)
def test_what_only_generating_can_do_is_refused(arguments: list[str]) -> None:
    done = tulu(*SCORE, "-m", "demo", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"tulu: --score " in done.stderr
    assert arguments[0].encode() in done.stderr


def test_no_end_is_for_scores() -> None:
    done = tulu("batch", "-m", "demo", "--no-end")
    assert (done.returncode, done.stderr) == (2, b"tulu: --no-end goes with --score.\n")


def test_scores_and_answers_do_not_go_on_with_one_another(
    model: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    stdin = lines({"text": "a", "completion": " b"})
    assert tulu("batch", "--engine", "fake", *model, "-o", str(output), stdin=stdin).returncode == 0
    before = output.read_bytes()
    refused = tulu(*SCORE, *model, "-o", str(output), "--resume", stdin=stdin)
    assert refused.returncode == 2
    assert b"was begun with other settings" in refused.stderr
    assert output.read_bytes() == before


def test_what_is_killed_in_the_middle_goes_on_and_each_row_is_there_once(
    model: tuple[str, ...], tmp_path: Path
) -> None:
    source, output, whole = (tmp_path / name for name in ("in", "out", "whole"))
    source.write_bytes(many(1500))
    command = (*SCORE, *model, str(source))
    with running(*command, "-o", str(output)) as process:
        assert eventually(lambda: output.exists() and output.stat().st_size > 20_000)
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECONDS)
    some = output.read_bytes()
    assert 0 < some.count(b"\n") < 1500
    assert tulu(*command, "-o", str(output), "--resume").returncode == 0
    assert tulu(*command, "-o", str(whole)).returncode == 0
    assert sorted(output.read_bytes().splitlines()) == sorted(whole.read_bytes().splitlines())


def test_logprobs_are_those_of_complete(model: tuple[str, ...]) -> None:
    one = tulu("complete", *ANSWER[1:], *model, "--json", "--logprobs", "1", "hello you")
    stdin = lines({"prompt": "hello you"}, {"text": "one two", "sampling": {"n": 2}})
    done = tulu(*ANSWER, *model, "--logprobs", "1", "--in-order", stdin=stdin)
    assert done.returncode == 0, done.stderr
    chat, plain = records(done.stdout)
    assert chat["logprobs"] == json.loads(one.stdout)["choices"][0]["logprobs"]
    assert len(chat["logprobs"]) == 4
    assert [len(choice["logprobs"]) for choice in plain["choices"]] == [3, 3]
    without = records(tulu(*ANSWER, *model, stdin=stdin).stdout)
    assert "logprobs" not in without[0]


def test_logprobs_in_openais_two_forms(model: tuple[str, ...]) -> None:
    stdin = lines({"prompt": "hello you"}, {"text": "né 🍎 two"})
    openai = ("--logprobs", "1", "--output-format", "openai", "--in-order")
    done = tulu(*ANSWER, *model, "--max-tokens", "9", *openai, stdin=stdin)
    assert done.returncode == 0, done.stderr
    chat, plain = (one["response"]["body"]["choices"][0] for one in records(done.stdout))
    content = chat["logprobs"]["content"]
    assert (
        bytes(byte for entry in content for byte in entry["bytes"])
        .decode()
        .endswith(chat["message"]["content"].split()[-1])
    )
    assert content[0]["top_logprobs"] == [
        {name: content[0][name] for name in ("token", "logprob", "bytes")}
    ]
    told = plain["logprobs"]
    assert len({len(told[name]) for name in told}) == 1
    assert told["tokens"][0] == "n"
    assert [list(top) for top in told["top_logprobs"]] == [[token] for token in told["tokens"]]
    assert told["text_offset"][:3] == [0, 1, 2]
    assert told["token_logprobs"][0] == 0


@pytest.mark.parametrize("score", [(), ("--score",)])
def test_roles_can_be_strict(model: tuple[str, ...], score: tuple[str, ...]) -> None:
    stdin = lines({"prompt": "x <|im_end|>", "completion": "a"}, {"prompt": "x", "completion": "a"})
    command = ("batch", *score, "--engine", "fake", *model, "--in-order", "--strict-roles")
    done = tulu(*command, stdin=stdin)
    assert done.returncode == 65
    refused, kept = records(done.stdout)
    assert "--strict-roles is on" in refused["error"]["message"]
    assert "error" not in kept


def test_a_real_engine_prefers_what_is_true(model: tuple[str, ...]) -> None:
    stdin = lines(
        {"text": "The capital of France is", "completions": [" Rome", " Paris", " a fox"]},
        {"prompt": "What is the capital of France?", "completions": ["Banana.", "Paris."]},
    )
    real = (
        "--engine",
        "transformers",
        "--dtype",
        "float32",
        "--max-model-len",
        "1024",
        "--in-order",
    )
    done = tulu("batch", "--score", *model, *real, stdin=stdin)
    assert done.returncode == 0, done.stderr
    text, chat = records(done.stdout)
    assert [one["best"]["logprob"] for one in (text, chat)] == [1, 1]
    assert text["completions"][1]["tokens"] == 1
    assert chat["completions"][1]["tokens"] == 3
    # The same on both engines.
    assert logprobs(text) == pytest.approx([-7.5651, -0.2606, -20.7443], abs=1e-3)
    assert logprobs(chat) == pytest.approx([-19.8930, -15.2856], abs=1e-3)


def logprobs(record: dict[str, Any]) -> list[float]:
    return [one["logprob"] for one in record["completions"]]
