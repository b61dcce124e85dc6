"""How a real process fails: one sentence on stderr, nothing on stdout, and the exit code."""

from pathlib import Path

import pytest

from tests.program import tulu

FAILURES = [
    (["-m", "no-such-model", "x"], 5, "'no-such-model' is not a model. Write one of 8b,"),
    (["-m", "./nowhere", "x"], 5, "There is no file or directory './nowhere': check the path."),
    (["-m", "org/not-cached", "x"], 5, "org/not-cached is not in the cache"),
    (["-m", "8b-rm", "--offline", "x"], 5, "allenai/Llama-3.1-Tulu-3-8B-RM is not in"),
    (["--engine", "vlm", "x"], 2, "Unknown engine 'vlm'; choose from auto, vllm, transformers."),
    (["--dtype", "int4", "x"], 2, "--dtype takes auto, bfloat16, float16, float32, not int4."),
    (["--max-model-len", "9000", "x"], 2, "--max-model-len 9,000 is more than the model's 8,192"),
    (["--max-model-len", "3", "x"], 6, "The prompt has "),
    (["--logprobs", "1", "x"], 2, "--logprobs are part of the --json output: add --json."),
    (["--choice", "yes", "x"], 2, "--choice takes two answers or more: repeat it."),
    (["--raw", "--prefill", "a", "x"], 2, "--raw sends a plain text: --prefill needs a chat "),
    (["--regex", "(", "x"], 65, "--regex is not a regular expression: "),
    (["--schema", "{", "x"], 65, "--schema is not JSON (line 1, column 2): "),
    (["--schema", '{"type": 3}', "x"], 65, "--schema is not a JSON schema: 3 is not valid"),
    (["-f", "nowhere.txt", "x"], 65, "nowhere.txt cannot be read: No such file or directory."),
    (["-f", "/", "x"], 65, "/ cannot be read: Is a directory."),
    (["-f", "a\nb\x1b[2J", "x"], 65, "'a\\nb\\x1b[2J' cannot be read: No such file"),
    (["--messages", "nowhere.json"], 65, "nowhere.json cannot be read: No such file"),
    (["-n", "0", "x"], 2, "Invalid value for '-n' / '--n'"),
    (["--seed", "x", "x"], 2, "Invalid value for '--seed'"),
    (["--nope", "x"], 2, "No such option: --nope"),
    (["--stop"], 2, "Option '--stop' requires an argument"),
    (["x", "y\x1b[2J"], 2, "Got unexpected extra argument"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"), FAILURES, ids=[" ".join(row[0]) for row in FAILURES]
)
def test_each_failure_has_its_code_and_one_sentence(
    fake: tuple[str, ...], arguments: list[str], code: int, sentence: str
) -> None:
    done = tulu(*fake, *arguments)
    stderr = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b"")
    assert stderr.startswith(f"tulu: {sentence}")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    assert stderr.strip().isprintable()


@pytest.mark.parametrize(
    ("env", "code", "sentence"),
    [
        ({"TULU_TOP_P": "2"}, 2, "TULU_TOP_P takes over 0 and up to 1, not 2.0."),
        ({"TULU_SEED": "x"}, 2, "TULU_SEED takes a whole number, not 'x'."),
        ({"TULU_CONFIG": "/nowhere.toml"}, 65, "/nowhere.toml (from TULU_CONFIG) does not exist."),
    ],
)
def test_a_bad_variable(
    fake: tuple[str, ...], env: dict[str, str], code: int, sentence: str
) -> None:
    done = tulu(*fake, "x", env=env)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode() == f"tulu: {sentence}\n"


def test_a_bad_config_file(fake: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[sampling]\ntemprature = 1\n")
    done = tulu(*fake, "x", env={"TULU_CONFIG": str(config)})
    assert (done.returncode, done.stdout) == (65, b"")
    assert b"unknown key sampling.temprature. Is sampling.temperature meant?\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--choice", "a", "--choice", "b"], 1, "does not satisfy the choice: it is none of the"),
        (["--regex", "a"], 1, "does not satisfy the regex: it does not match as a whole."),
        (["--schema", "{}"], 1, "does not satisfy the json schema: it is not JSON"),
        (["--schema", "{}", "--max-tokens", "1"], 8, "was cut at 1 token, before it was complete"),
        (["--fail-on-length", "--max-tokens", "1"], 8, "The answer was cut at 1 token"),
        (["--fail-on-length"], 0, ""),
        (["--max-tokens", "1"], 0, ""),
        (["--choice", "say it", "--choice", "b"], 0, ""),
        (["--regex", "say .."], 0, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_answer_that_is_not_what_was_asked_for_is_shown_all_the_same(
    echo: tuple[str, ...], arguments: list[str], code: int, sentence: str
) -> None:
    done = tulu(*echo, *arguments, "say it")
    assert done.returncode == code
    assert done.stdout == (b"say\n" if "--max-tokens" in arguments else b"say it\n")
    assert sentence in done.stderr.decode()
    assert done.stderr.count(b"\n") == (1 if code else 0)


def test_a_traceback_only_with_debug_and_the_same_code(fake: tuple[str, ...]) -> None:
    plain, debug = (tulu(*fake, "-m", "nope", *flag, "x") for flag in ([], ["--debug"]))
    assert plain.returncode == debug.returncode == 5
    assert debug.stderr.startswith(b"Traceback (most recent call last):")
    assert debug.stderr.endswith(plain.stderr)


def test_special_tokens_of_a_model_that_is_broken_are_bad_input(
    demo_directory: Path, tmp_path: Path
) -> None:
    for file in demo_directory.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.json").write_text("{]")
    done = tulu("complete", "--engine", "fake", "-m", str(tmp_path), "x")
    assert (done.returncode, done.stdout) == (65, b"")
    assert b"tokenizer.json" in done.stderr
    assert done.stderr.count(b"\n") == 1
