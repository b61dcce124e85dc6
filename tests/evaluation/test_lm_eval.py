"""The model for lm-evaluation-harness: answers of `tulu batch`, by the rules of lm-eval."""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import make_adapter
from tests.program import tulu
from tulu_cli.core import Message, ScoreRequest
from tulu_cli.errors import TuluError, UsageError
from tulu_cli.evaluation import lm_eval
from tulu_cli.evaluation.lm_eval import TuluLM, load_options, rolling, sampling
from tulu_cli.prompt.chat import render_chat

FAKE = {"engine": "fake", "no_server": True}


@dataclass
class Asked:
    """A request as lm-eval makes one."""

    args: tuple[Any, ...]


@pytest.fixture(scope="module")
def model(demo_directory: Path) -> Iterator[TuluLM]:
    made = TuluLM(str(demo_directory), **FAKE, batch_size=1, device="cuda:0")
    yield made
    made.close()


def batch(model: Path, rows: list[dict[str, Any]], *options: str) -> list[dict[str, Any]]:
    """The records of `tulu batch` for the same rows, in their order."""
    stdin = "".join(json.dumps(row) + "\n" for row in rows).encode()
    command = ("batch", "-m", str(model), "--engine", "fake", "--no-server", "--in-order", *options)
    done = tulu(*command, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_texts_are_those_of_tulu_batch(model: TuluLM, demo_directory: Path) -> None:
    texts = ["fake: say one, two. Three\n", "Why is the sky blue?", "fake: say 7\n"]
    given = {"until": ["."], "max_gen_toks": 6, "do_sample": False}
    found = model.generate_until([Asked((text, given)) for text in texts])
    rows = [{"text": text, "sampling": {"stop": ["."], "max_tokens": 6}} for text in texts]
    expected = batch(demo_directory, rows, "--greedy")
    assert found == [one["text"] for one in expected]
    assert found[0] == "one, two"


def test_likelihoods_are_those_of_tulu_batch(model: TuluLM, demo_directory: Path) -> None:
    pairs = [("one two", "one"), ("one two", " six"), ("The s", "ky is"), ("Q: x\nA:", " one two")]
    found = model.loglikelihood([Asked(pair) for pair in pairs])
    rows = [{"text": text, "completion": completion} for text, completion in pairs]
    expected = batch(demo_directory, rows, "--score")
    assert found == [(one["logprob"], one["greedy"]) for one in expected]
    assert len({greedy for _, greedy in found}) == 2
    # Spaces at the end of a context belong to what follows it.
    assert model.loglikelihood([Asked(("one two ", "six"))]) == found[1:2]


def test_an_adapter_answers_and_scores(demo_directory: Path, tmp_path: Path) -> None:
    adapter = str(make_adapter(tmp_path / "mine", demo_directory, rank=1, targets=("q_proj",)))
    model = TuluLM(str(demo_directory), **FAKE, adapter=adapter)
    (text,) = model.generate_until([Asked(("fake: say Hi\n", {"until": [], "max_gen_toks": 6}))])
    assert text == "mine: Hi"
    (found,) = model.loglikelihood([Asked(("Say.", "mine: Say"))])
    model.close()
    row = {"text": "Say.", "completion": "mine: Say"}
    (expected,) = batch(demo_directory, [row], "--score", "--adapter", adapter)
    (alone,) = batch(demo_directory, [row], "--score")
    assert found == (expected["logprob"], expected["greedy"])
    assert expected["logprob"] != alone["logprob"]


def test_a_text_with_nothing_before_it_follows_what_stands_for_a_bos(model: TuluLM) -> None:
    (whole,) = model.loglikelihood_rolling([Asked(("one two six",))])
    ((scored, _),) = model.loglikelihood([Asked(("", "one two six"))])
    assert whole == pytest.approx(scored)
    assert math.isfinite(whole)
    assert whole < 0


def test_each_token_of_a_long_text_is_scored_once_with_the_most_context_at_the_end() -> None:
    windows = list(rolling(99, tuple(range(10)), 5))
    # As in lm-eval's own description, whose windows of 4 end one token before what they predict.
    assert windows == [
        ScoreRequest((99, 0, 1, 2, 3), 1),
        ScoreRequest((3, 4, 5, 6, 7), 1),
        ScoreRequest((5, 6, 7, 8, 9), 3),
    ]
    for count in range(30):
        scored = [
            token
            for one in rolling(99, tuple(range(count)), 7)
            for token in one.completion_token_ids
        ]
        assert scored == list(range(count))


def test_a_context_that_is_too_long_loses_its_beginning_and_that_is_said(
    demo_directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = TuluLM(str(demo_directory), **FAKE, max_model_len=64)
    try:
        long = "word " * 100
        ((logprob, _),) = model.loglikelihood([Asked((long + "one two", " one"))])
        assert math.isfinite(logprob)
        (text,) = model.generate_until([Asked((long + "fake: say ok\n", {"max_gen_toks": 8}))])
        assert text == "ok"
        assert capfd.readouterr().err.count("1 context cut at the beginning, to fit") == 2
        with pytest.raises(UsageError, match="A continuation has 100 tokens, and 63 can"):
            model.loglikelihood([Asked(("a", " word" * 100))])
        with pytest.raises(UsageError, match="has no room to answer"):
            model.generate_until([Asked(("a", {"max_gen_toks": 64}))])
        (whole,) = model.loglikelihood_rolling([Asked((long,))])
        assert math.isfinite(whole)
    finally:
        model.close()


def test_a_conversation_is_written_by_the_models_template(model: TuluLM) -> None:
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well,"}]
    messages = [Message("user", "Hi"), Message("assistant", "Well,")]
    tokenizer = model._tokenizer
    asked = model.apply_chat_template(history[:1])
    assert asked == render_chat(tokenizer, messages[:1], add_generation_prompt=True)
    begun = model.apply_chat_template(history, add_generation_prompt=False)
    assert begun == render_chat(tokenizer, messages, continue_final=True)
    assert begun.endswith("Well,")
    assert model.chat_template(True) == tokenizer.chat_template
    assert "/" not in model.tokenizer_name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0.0, 256, ())),
        ({"until": "\n"}, (0.0, 256, ("\n",))),
        ({"until": ["a", ""], "max_tokens": 5}, (0.0, 5, ("a",))),
        ({"max_gen_toks": 7, "max_new_tokens": 9}, (0.0, 7, ())),
        ({"do_sample": True, "temperature": 0.7}, (0.7, 256, ())),
        ({"do_sample": False, "temperature": 0.7}, (0.0, 256, ())),
        ({"temperature": 0.7}, (0.7, 256, ())),
        ({"temperature": None, "until": None}, (0.0, 256, ())),
    ],
    ids=str,
)
def test_sampling_is_greedy_unless_it_is_asked_to_draw(
    given: dict[str, Any], expected: tuple[object, ...]
) -> None:
    made = sampling(given)
    assert (made.temperature, made.max_tokens, made.stop) == expected


def test_what_is_not_known_is_refused_and_not_dropped() -> None:
    with pytest.raises(UsageError, match="num_beams is unknown: there are until"):
        sampling({"num_beams": 3})
    with pytest.raises(UsageError, match="until must be texts"):
        sampling({"until": [3]})
    with pytest.raises(UsageError, match="colour is unknown: there are model, engine"):
        load_options("demo", {"colour": "red"})
    options = load_options("demo", {"device": "cpu", "max_batch_size": 4, "offline": True})
    assert (options.settings.get("device"), options.offline) == ("cpu", True)
    assert load_options("demo", {"device": "cuda:0"}).settings.get("device") != "cuda:0"


def test_switches_are_understood_as_on_the_command_line() -> None:
    assert load_options("demo", {"server_wait": "10m"}).server_wait == 600
    assert load_options("demo", {"server_wait": 90, "mixed": True}).server_wait == 90
    for name, value in {"server_wait": "soon", "mixed": "no", "engine_args": "a=b"}.items():
        with pytest.raises(UsageError, match=f"{name} takes "):
            load_options("demo", {name: value})


def test_without_lm_eval_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lm_eval.model_class.cache_clear()
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    assert lm_eval.main() == TuluError.exit_code
    assert capsys.readouterr().err == (
        "tulu: lm-eval is not installed: pip install 'tulu_cli[lm-eval]'.\n"
    )


def test_lm_eval_knows_the_model_by_its_name() -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    from lm_eval.api.model import LM
    from lm_eval.api.registry import get_model

    lm_eval.model_class.cache_clear()
    made = lm_eval.model_class()
    assert get_model("tulu") is made
    assert issubclass(made, LM)
    assert issubclass(made, TuluLM)
    assert not getattr(made, "__abstractmethods__", None)
    assert get_model("dummy") is not made, "its own models are known too"
