"""stdout of a real process: the answer and nothing else."""

import json
from typing import Any

import pytest

from tests.program import shell, tulu


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def document(*arguments: str) -> Any:
    done = tulu(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1
    assert done.stdout.endswith(b"}\n")
    return json.loads(done.stdout, parse_constant=refuse)


def test_the_answer_and_one_line_end(echo: tuple[str, ...]) -> None:
    for prompt, expected in (("say", b"say\n"), ("say\n", b"say\n"), ("a\r\nb", b"a\r\nb\n")):
        done = tulu(*echo, prompt)
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


def test_several_answers_behind_lines(echo: tuple[str, ...]) -> None:
    assert tulu(*echo, "-n", "3", "say").stdout == b"say\n---\nsay\n---\nsay\n"


def test_a_stop_string_is_not_shown(echo: tuple[str, ...]) -> None:
    done = tulu(*echo, "--stop", "three", "--stop", "two", "one two three")
    assert (done.returncode, done.stdout) == (0, b"one \n")


def test_a_prefill_is_not_repeated(fake: tuple[str, ...]) -> None:
    done = tulu(*fake, "-s", "none", "--prefill", "Well,", "--json", "say")
    parsed = json.loads(done.stdout)
    assert parsed["prefill"] == "Well,"
    assert parsed["choices"][0]["text"].endswith("assistant\nWell,")


def test_json_says_all_that_is_known(echo: tuple[str, ...], demo_directory: Any) -> None:
    found = document(*echo, "--seed", "7", "--max-tokens", "9", "--top-k", "5", "say it")
    assert list(found) == [
        "model",
        "revision",
        "engine",
        "sampling",
        "prompt_token_ids",
        "prefill",
        "choices",
        "usage",
        "timings",
    ]
    assert found["model"] == str(demo_directory)
    assert (found["engine"]["name"], found["engine"]["max_model_len"]) == ("fake", 8192)
    sampling = found["sampling"]
    assert (sampling["seed"], sampling["max_tokens"], sampling["top_k"]) == (7, 9, 5)
    # From the model's generation_config.json: these are what was really used.
    assert (sampling["temperature"], sampling["top_p"]) == (0.2, 0.9)
    (choice,) = found["choices"]
    assert choice["text"] == "say it"
    assert choice["token_ids"] == [*found["prompt_token_ids"], choice["stop"]]
    assert (choice["finish_reason"], choice["seed"], choice["index"]) == ("stop", 7, 0)
    assert "logprobs" not in choice
    prompt, completion = len(found["prompt_token_ids"]), len(choice["token_ids"])
    assert found["usage"] == {
        "prompt_tokens": prompt,
        "cached_tokens": 0,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    assert 0 <= found["timings"]["first_token"] <= found["timings"]["total"]


def test_json_of_several_answers_with_logprobs(echo: tuple[str, ...]) -> None:
    found = document(*echo, "-n", "2", "--logprobs", "1", "--seed", "7", "say it")
    assert [choice["seed"] for choice in found["choices"]] == [7, 8]
    assert found["sampling"]["n"] == 2
    for choice in found["choices"]:
        assert [entry["token_id"] for entry in choice["logprobs"]] == choice["token_ids"]
        assert [entry["token"] for entry in choice["logprobs"]][:2] == ["say", "Ġit"]
        assert all(len(entry["top"]) == 1 for entry in choice["logprobs"])


def test_a_drawn_seed_is_reported(echo: tuple[str, ...]) -> None:
    assert document(*echo, "say")["sampling"]["seed"] != document(*echo, "say")["sampling"]["seed"]


def test_statistics_are_talk(echo: tuple[str, ...]) -> None:
    done = tulu(*echo, "--stats", "say it")
    assert done.stdout == b"say it\n"
    assert done.stderr.startswith(b"tulu: 2 prompt tokens, 3 completion tokens, first token ")
    assert done.stderr.endswith(b" tokens/s, stopped by stop\n")


def test_verbose_says_what_was_chosen(echo: tuple[str, ...], demo_directory: Any) -> None:
    done = tulu(*echo, "-v", "say")
    assert done.stdout == b"say\n"
    assert f"tulu: engine fake: asked for\ntulu: model {demo_directory} in" in done.stderr.decode()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_news(fake: tuple[str, ...], unbuffered: str) -> None:
    script = f'PYTHONUNBUFFERED={unbuffered} "$@" | head -n 1; echo "${{PIPESTATUS[0]}}"'
    done = shell(script, *fake, "--ignore-eos", "-n", "9", "say")
    assert (done.stdout, done.stderr) == (b"system\n141\n", b"")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["complete", "--help"]], ids=" ".join
)
def test_help_that_nobody_reads_is_no_news(arguments: list[str]) -> None:
    done = shell('"$@" | true; echo "${PIPESTATUS[0]}"', *arguments)
    assert (done.stdout, done.stderr) in ((b"141\n", b""), (b"0\n", b""))  # true may be slower


@pytest.mark.parametrize("json_flag", [[], ["--json"]])
def test_a_full_stdout_is_one_sentence(echo: tuple[str, ...], json_flag: list[str]) -> None:
    done = shell('"$@" > /dev/full', *echo, *json_flag, "say")
    assert done.returncode == 1
    assert done.stderr == b"tulu: stdout cannot be written: No space left on device.\n"


def test_a_full_stdout_spoils_help_with_one_sentence() -> None:
    done = shell('"$@" > /dev/full', "--help")
    assert done.returncode == 1
    assert done.stderr == b"tulu: No space left on device; --debug shows where.\n"


def test_a_closed_stdout_is_one_sentence(echo: tuple[str, ...]) -> None:
    done = shell('"$@" >&-', *echo, "say")
    assert done.returncode == 1
    assert done.stderr == b"tulu: stdout is closed: there is nowhere to write the answer.\n"


@pytest.mark.parametrize("script", ['"$@" 2>&-', '"$@" 2>/dev/full', '"$@" 2> >(true)'])
def test_talk_that_nobody_hears_costs_no_answer(echo: tuple[str, ...], script: str) -> None:
    done = shell(script, *echo, "--stats", "-v", "say")
    assert (done.returncode, done.stdout) == (0, b"say\n")


@pytest.mark.parametrize("script", ['"$@" 2>&-', '"$@" 2>/dev/full'])
def test_an_error_that_nobody_hears_keeps_its_code(echo: tuple[str, ...], script: str) -> None:
    assert shell(script, *echo, "--schema", "{", "say").returncode == 65
