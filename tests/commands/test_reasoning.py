"""Models that think, from argv to output: the fake engine says what they would."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.program import tulu
from tests.thinker import ANSWER, THOUGHT
from tulu_cli.cli import main
from tulu_cli.errors import TuluError
from tulu_cli.streams import Streams

# Exit code, stdout and stderr.
Run = Callable[..., tuple[int, str, str]]
SAID = "fake: say <think>\\nTwo and two.\\n</think>\\n\\nIt is 4."
CUT_SAID = "fake: say <think>\\nTwo and two and two and two."
OPEN_SAID = "fake: say Two and two.\\n</think>\\n\\nIt is 4.\n"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`tulu` as argv in this process; what is no TuluError is a traceback, and fails the test."""
    monkeypatch.setenv("TULU_CONFIG", "/dev/null")
    monkeypatch.setenv("TULU_DATA_DIR", str(tmp_path / "data"))

    def verb(*arguments: str, stdin: str = "", color: bool = False) -> tuple[int, str, str]:
        streams = Streams.test(stdin.encode(), tty=color, color=color)
        monkeypatch.setattr(Streams, "standard", lambda *_color: streams)
        said = ""
        try:
            code = main.run([*arguments])
        except TuluError as error:
            code, said = error.exit_code, f"tulu: {error}\n"
        streams.stdout.seek(0)
        streams.stderr.seek(0)
        return code, streams.stdout.read().decode(), streams.stderr.read().decode() + said

    return verb


@pytest.fixture
def ask(run: Run, thinking_directory: Path) -> Run:
    """`tulu complete` with a model that thinks."""

    def complete(*arguments: str) -> tuple[int, str, str]:
        return run("complete", "--engine", "fake", "-m", str(thinking_directory), *arguments)

    return complete


@pytest.mark.parametrize(
    ("options", "stdout", "stderr"),
    [
        ([], "It is 4.\n", ""),
        (["--reasoning", "hide"], "It is 4.\n", ""),
        (["--reasoning", "show"], "It is 4.\n", "Two and two.\n"),
        (["--reasoning", "only"], "Two and two.\n", ""),
        # A structure is of the answer alone.
        (["--regex", "It is [0-9]."], "It is 4.\n", ""),
    ],
)
def test_in_a_pipe_stdout_is_the_answer_alone(
    ask: Run, options: list[str], stdout: str, stderr: str
) -> None:
    assert ask(*options, SAID) == (0, stdout, stderr)


def test_a_template_that_opens_the_thought(run: Run, opening_directory: Path) -> None:
    model = ("complete", "--engine", "fake", "-m", str(opening_directory))
    assert run(*model, "--reasoning", "show", OPEN_SAID) == (0, "It is 4.\n", "Two and two.\n")


def test_a_model_that_does_not_think_may_write_the_signs(run: Run, demo_directory: Path) -> None:
    model = ("complete", "--engine", "fake", "-m", str(demo_directory))
    said = "<think>\nTwo and two.\n</think>\n\nIt is 4.\n"
    assert run(*model, "--reasoning", "show", SAID) == (0, said, "")
    code, stdout, _ = run(*model, "--json", SAID)
    assert code == 0
    assert '"reasoning"' not in stdout


def test_json_has_the_thought_and_its_tokens(ask: Run) -> None:
    code, stdout, stderr = ask("--json", "-n", "2", SAID)
    assert (code, stderr) == (0, "")
    found = json.loads(stdout)
    for choice in found["choices"]:
        assert (choice["reasoning"], choice["text"]) == ("Two and two.", "It is 4.")
    usage, ids = found["usage"], found["choices"][0]["token_ids"]
    assert 0 < usage["reasoning_tokens"] < usage["completion_tokens"] == 2 * len(ids)


def test_the_tokens_of_the_thought_are_in_the_statistics(ask: Run) -> None:
    code, _, stderr = ask("--stats", SAID)
    assert code == 0
    assert "reasoning), first token" in stderr


def test_a_thought_that_is_cut_is_said(ask: Run) -> None:
    sentence = "The thought was cut before an answer at 4 tokens: raise --max-tokens."
    assert ask("--max-tokens", "4", SAID) == (0, "", f"tulu: {sentence}\n")
    failed = ask("--max-tokens", "4", "--fail-on-length", SAID)
    assert failed == (8, "", f"tulu: {sentence}\n")
    code, stdout, _ = ask("--max-tokens", "4", "--json", SAID)
    (choice,) = json.loads(stdout)["choices"]
    assert (code, choice["finish_reason"], choice["text"]) == (0, "length", "")
    said = "tulu: The model ended after its thought, and gave no answer.\n"
    assert ask(CUT_SAID) == (0, "", said)


def test_an_answer_that_is_cut_after_its_thought_is_an_answer(ask: Run) -> None:
    code, stdout, stderr = ask("--json", SAID)
    tokens = len(json.loads(stdout)["choices"][0]["token_ids"])
    code, stdout, stderr = ask("--max-tokens", str(tokens - 2), "--fail-on-length", SAID)
    assert code == 8
    assert "It is 4.".startswith(stdout.strip())
    assert stderr.startswith("tulu: The answer was cut at")


def shown_prompt(*arguments: str, run: Run, model: Path) -> str:
    """The prompt that the fake engine, which then says nothing of its own, is given."""
    said = run("complete", "--engine", "fake", "-m", str(model), "--json", *arguments, "Hi")
    assert said[0] == 0, said
    ids = json.loads(said[1])["prompt_token_ids"]
    from tulu_cli.prompt import Tokenizer

    return Tokenizer.load(model).decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ([], "assistant\n"),
        (["--think"], "assistant\n"),
        (["--no-think"], "<think>\n\n</think>\n\n"),
        (["--template-arg", "enable_thinking=False"], "<think>\n\n</think>\n\n"),
        (["--template-arg", "enable_thinking=false"], "<think>\n\n</think>\n\n"),
        (["--template-arg", "enable_thinking=0"], "<think>\n\n</think>\n\n"),
        (["--template-arg", "enable_thinking=True"], "assistant\n"),
    ],
)
def test_the_template_is_told_whether_to_think(
    run: Run, thinking_directory: Path, options: list[str], ends: str
) -> None:
    assert shown_prompt(*options, run=run, model=thinking_directory).endswith(ends)
    code, prompt, _ = run("template", "render", "-m", str(thinking_directory), *options, "Hi")
    assert code == 0
    assert prompt.rstrip("\n").endswith(ends.rstrip("\n"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--raw", "--think"], "--raw sends a plain text: --think or --template-arg needs"),
        (["--raw", "--reasoning", "hide"], "--raw sends a plain text: --reasoning needs"),
        (["--json", "--reasoning", "only"], "--json has the reasoning beside the answer"),
        (["--think", "--template-arg", "enable_thinking=1"], "cannot be combined"),
        (["--template-arg", "x"], "--template-arg takes KEY=VALUE, not 'x'"),
        (["--template-arg", "enable_thinkin_=False"], "reads no variable enable_thinkin_."),
        (["--template-arg", "messages=1"], "cannot be named messages"),
    ],
)
def test_what_cannot_be_is_said(ask: Run, options: list[str], sentence: str) -> None:
    code, stdout, stderr = ask(*options, "Hi")
    assert (code, stdout) == (2, "")
    assert sentence in stderr


def test_a_model_without_the_switch_says_so(run: Run, demo_directory: Path) -> None:
    model = ("--engine", "fake", "-m", str(demo_directory))
    sentence = (
        "tulu: --think and --no-think would change nothing: the chat template of this model reads "
        "no variable enable_thinking.\n"
    )
    for verb in ("complete", "batch", "chat"):
        assert run(verb, *model, "--no-think", stdin='{"prompt": "Hi"}\n') == (2, "", sentence)


def test_batch_has_the_thought_in_each_record(run: Run, thinking_directory: Path) -> None:
    rows = "".join(json.dumps({"prompt": said}) + "\n" for said in (SAID, "fake: say It is 4."))
    model = ("batch", "--engine", "fake", "-m", str(thinking_directory), "--in-order")
    code, stdout, _ = run(*model, stdin=rows)
    first, second = map(json.loads, stdout.splitlines())
    assert code == 0
    assert (first["reasoning"], first["text"]) == ("Two and two.", "It is 4.")
    assert first["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert ("reasoning" in second, second["text"]) == (False, "It is 4.")
    code, stdout, _ = run(*model, "--output-format", "openai", stdin=rows)
    message = json.loads(stdout.splitlines()[0])["response"]["body"]["choices"][0]["message"]
    assert message == {
        "role": "assistant",
        "content": "It is 4.",
        "reasoning_content": "Two and two.",
    }


def test_rows_of_a_batch_may_think_or_not(run: Run, thinking_directory: Path) -> None:
    def row(**kwargs: Any) -> str:
        body = {"messages": [{"role": "user", "content": "Hi"}], **kwargs}
        return json.dumps({"custom_id": "a", "body": body}) + "\n"

    own = {"chat_template_kwargs": {"enable_thinking": True}}
    rows = row() + row(**own) + json.dumps({"prompt": "Hi", **own, "more": 1}) + "\n"
    model = ("batch", "--engine", "fake", "-m", str(thinking_directory), "--no-think", "--in-order")
    code, stdout, _ = run(*model, stdin=rows)
    first, *others = map(json.loads, stdout.splitlines())
    assert code == 0
    for other in others:
        assert first["usage"]["prompt_tokens"] > other["usage"]["prompt_tokens"]
    assert others[1]["columns"] == {"more": 1}
    text = json.dumps({"text": "Once", **own})
    code, stdout, _ = run(*model, stdin=f"{text}\n")
    assert code == 65
    assert "a plain text has no chat template for chat_template_kwargs." in stdout


def test_harmony_is_refused_in_one_sentence(run: Run, demo_directory: Path, tmp_path: Path) -> None:
    from tests.conftest import with_template

    model = str(with_template(demo_directory, tmp_path, "gpt_oss"))
    code, stdout, stderr = run("complete", "--engine", "fake", "-m", model, "Hi")
    assert (code, stdout) == (2, "")
    assert "Harmony format, as gpt-oss does" in stderr
    assert run("complete", "--engine", "fake", "-m", model, "--raw", "Hi") == (0, "Hi\n", "")


def test_a_chat_keeps_the_thought_beside_the_answer(run: Run, thinking_directory: Path) -> None:
    chat = ("chat", "--engine", "fake", "-m", str(thinking_directory), "--session", "s")
    assert run(*chat, stdin=f"{SAID}\n") == (0, "It is 4.\n", "")
    assert run(*chat, "--reasoning", "show", stdin=f"{SAID}\n")[1:] == (
        "It is 4.\n",
        "Session s, 2 turns.\nTwo and two.\n",
    )
    for form in ("openai", "jsonl"):
        exported = json.loads(run("history", "export", "s", "--format", form)[1])
        messages = exported if isinstance(exported, list) else exported["messages"]
        assert [one.get("reasoning_content") for one in messages] == [None, "Two and two."] * 2
    page = run("history", "export", "s", "--format", "html")[1]
    assert '<summary>Thought</summary>\n<div class="thought">Two and two.</div>' in page
    found = run("history", "search", "two.")[1].splitlines()
    assert [" user: " in line for line in found] == [True, True]  # no thought is searched
    found = run("history", "search", "--reasoning", "and", "two.")[1].splitlines()
    who = " assistant (thought): "
    assert [line.partition(who)[2] for line in found] == ["Two and two.", ""] * 2
    hits = run("history", "search", "--reasoning", "--json", "TWO")[1].splitlines()
    assert [json.loads(hit)["is_thought"] for hit in hits] == [True, False] * 2
    for how, answers, beside in (
        ((), (0, 2), 0),
        (("--reasoning", "hide"), (0, 2), 0),
        (("--reasoning", "show"), (0, 2), 2),
        (("--reasoning", "only"), (2, 0), 0),
    ):
        code, shown, stderr = run("history", "show", "s", *how)
        lines = shown.splitlines()
        assert (lines.count("Two and two."), lines.count("It is 4.")) == answers
        assert (code, stderr.count("Two and two.\n")) == (0, beside)
    on_terminal = run("history", "show", "s", color=True)[1]
    folded = r"\x1b\[2mThought: [0-9]+ tokens\.\x1b\[0m\n\nIt is 4\.\n"
    assert len(re.findall(folded, on_terminal)) == 2
    code, _, stderr = run("history", "show", "s", "--tree", "--reasoning", "show")
    assert (code, "--reasoning is for the turns as text" in stderr) == (2, True)


def test_what_is_sent_back_is_the_decision_of_the_template(
    run: Run, thinking_directory: Path, tmp_path: Path
) -> None:
    chat = ("chat", "--engine", "fake", "-m", str(thinking_directory), "--session", "s")
    code, stdout, _ = run(*chat, stdin=f"{SAID}\n/show prompt And then?\n")
    assert code == 0
    # Qwen3's drops the thoughts before the last question.
    assert "assistant\nIt is 4.<|im_end|>" in stdout
    assert "<think>\nTwo and two." not in stdout


def test_a_chat_sets_variables_of_its_template(run: Run, thinking_directory: Path) -> None:
    lines = (
        "/set template_arg.enable_thinking False",
        "/show prompt Hi",
        "/set template-arg.enable_thinking default",
        "/show prompt Hi",
        "/set template_arg.enable_thinkin_ 1",
        "/set template_arg.messages 1",
        "/set template_arg.enable_thinking",
    )
    chat = ("chat", "--engine", "fake", "-m", str(thinking_directory), "--no-history")
    code, stdout, stderr = run(*chat, "--think", stdin="\n".join(lines))
    assert code == 2
    off, on = stdout.split("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")[1:]
    assert (off.startswith("<think>\n\n</think>\n\n"), on) == (True, "")
    why = "the chat template of this model reads no variable enable_thinkin_."
    assert stderr.splitlines() == [
        "template_arg.enable_thinking = false",
        "template_arg.enable_thinking = default",
        f"tulu: template_arg.enable_thinkin_ would change nothing: {why}",
        "tulu: template_arg.messages cannot be set: a template has no such variable.",
        "template_arg.enable_thinking = default",
    ]


@pytest.mark.parametrize("tokens", [4, 6])  # behind the sign, and in the thought
def test_a_chat_says_that_a_thought_was_cut(
    run: Run, thinking_directory: Path, tokens: int
) -> None:
    chat = ("chat", "--engine", "fake", "-m", str(thinking_directory), "--session", "s")
    limit = ("--max-tokens", str(tokens))
    code, stdout, stderr = run(*chat, *limit, stdin=f"{SAID}\n/show prompt Well?\n")
    assert code == 0
    said = f"The thought was cut at {tokens} tokens, before an answer: /retry answers anew.\n"
    assert stderr == said
    assert "<|im_start|>assistant\n<|im_end|>" not in stdout  # it is no turn


@pytest.mark.parametrize(
    ("options", "stdout", "thought"),
    [
        ([], ANSWER, THOUGHT),
        (["--choice", "yes", "--choice", "no"], "no", THOUGHT),
        (["--no-think", "--regex", "[0-9]{3}"], "000", ""),
        (["--max-reasoning-tokens", "1"], ANSWER, "Two"),
        (["--max-reasoning-tokens", "0", "--schema", '{"enum": ["yes", "no"]}'], '"no"', ""),
    ],
)
def test_a_real_model_thinks_and_answers(
    run: Run, thinker_directory: Path, options: list[str], stdout: str, thought: str
) -> None:
    model = ("complete", "--engine", "transformers", "-m", str(thinker_directory), "--greedy")
    code, said, beside = run(*model, "--reasoning", "show", *options, "Hi")
    assert (code, said, beside.strip()) == (0, f"{stdout}\n", thought)


def test_a_thought_of_a_real_model_that_is_cut(run: Run, thinker_directory: Path) -> None:
    model = ("complete", "--engine", "transformers", "-m", str(thinker_directory), "--greedy")
    cut = ("--max-tokens", "3", "--reasoning", "show", "--fail-on-length")
    code, stdout, stderr = run(*model, *cut, "Hi")
    assert (code, stdout) == (8, "")
    *thought, sentence = stderr.splitlines()
    assert "".join(thought).strip() == "Two and"
    assert sentence == (
        "tulu: The thought was cut before an answer at 3 tokens: raise --max-tokens."
    )


def test_a_real_model_thinks_in_a_chat_as_it_is_set(run: Run, thinker_directory: Path) -> None:
    model = ("chat", "--engine", "transformers", "-m", str(thinker_directory), "--greedy")
    turns = "Hi\n/set max-reasoning-tokens 1\nAgain\n"
    code, stdout, stderr = run(*model, "--session", "s", "--reasoning", "show", stdin=turns)
    assert (code, stdout) == (0, f"{ANSWER}\n" * 2)
    assert stderr.split("\n") == [f" {THOUGHT}", "max_reasoning_tokens = 1 (/set)", " Two", ""]


ROWS = [
    {"prompt": "Hi"},
    {"prompt": "Hi", "sampling": {"max_reasoning_tokens": 1}},
    {"prompt": "Hi", "chat_template_kwargs": {"enable_thinking": False}},
    {"prompt": "Hi", "sampling": {"max_reasoning_tokens": -1}},
]


def check_rows(stdout: str) -> None:
    """Hold the records of ROWS, answered with a choice of yes and no, against what they ask."""
    *records, refused = map(json.loads, stdout.splitlines())
    assert [(one.get("reasoning"), one["text"]) for one in records] == [
        (f" {THOUGHT}", "no"),
        (" Two", "no"),
        (None, "no"),
    ]
    assert ["reasoning_truncated" in one for one in records] == [False, True, False]
    assert "sampling.max_reasoning_tokens takes 0 or more" in refused["error"]["message"]


def batch_of(engine: str, model: Path) -> tuple[str, ...]:
    choices = ("--choice", "yes", "--choice", "no")
    return ("batch", "--engine", engine, "-m", str(model), "--greedy", "--in-order", *choices)


def test_a_real_model_thinks_in_a_batch(run: Run, thinker_directory: Path) -> None:
    rows = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    code, stdout, _ = run(*batch_of("transformers", thinker_directory), stdin=rows)
    assert code == 65
    check_rows(stdout)


@pytest.mark.vllm
def test_a_real_model_thinks_in_a_process_on_vllm(thinker_directory: Path) -> None:
    rows = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    done = tulu(*batch_of("vllm", thinker_directory), stdin=rows.encode())
    assert done.returncode == 65, done.stderr
    check_rows(done.stdout.decode())


def test_the_limit_of_a_thought_is_in_json_and_in_the_settings(
    run: Run, thinking_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TULU_MAX_REASONING_TOKENS", "2")
    ask = ("complete", "--engine", "fake", "--json", "-m", str(thinking_directory))
    code, stdout, _ = run(*ask, "fake: say <think>Two and two.</think>It is 4.")
    choice = json.loads(stdout)["choices"][0]
    assert (code, choice["reasoning"], choice["reasoning_truncated"]) == (0, "Two and", True)
    assert "reasoning_truncated" not in run(*ask, "--max-reasoning-tokens", "99", SAID)[1]


def test_a_model_that_does_not_think_has_no_limit_of_its_thought(
    run: Run, demo_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ("--engine", "fake", "-m", str(demo_directory))
    limit = ("--max-reasoning-tokens", "2")
    why = "would change nothing: the chat template of this model knows no thoughts.\n"
    for verb in ("complete", "batch", "chat"):
        said = run(verb, *model, *limit, stdin='{"prompt": "Hi"}\n')
        assert said == (2, "", f"tulu: --max-reasoning-tokens {why}")
    code, _, stderr = run("chat", *model, stdin="/set max_reasoning_tokens 2\n")
    assert (code, stderr) == (2, f"tulu: max_reasoning_tokens {why}")
    row = json.dumps({"prompt": "Hi", "sampling": {"max_reasoning_tokens": 2}})
    code, stdout, _ = run("batch", *model, stdin=f"{row}\n")
    assert (code, json.loads(stdout)["error"]["message"]) == (
        65,
        f"sampling.max_reasoning_tokens {why}".strip(),
    )
    monkeypatch.setenv("TULU_MAX_REASONING_TOKENS", "2")  # for all models, some of which think
    assert run("complete", *model, "Hi")[0] == 0
    code, _, stderr = run("complete", *model, "--raw", *limit, "Hi")
    assert (code, "--raw sends a plain text: --max-reasoning-tokens needs" in stderr) == (2, True)
