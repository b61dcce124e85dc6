"""Votes: the order that is drawn, the file, and the figures."""

import io
import json
import math
from pathlib import Path

import pytest

from tulu_cli.comparison.answers import Answer, Compared
from tulu_cli.comparison.models import read_choice, read_choices
from tulu_cli.comparison.voter import Lines
from tulu_cli.comparison.votes import TIE, Ballot, Tally, Vote, order, read_votes
from tulu_cli.errors import BadInput, UsageError

MODELS = ("first", "second")


def row(line: int) -> Compared:
    return Compared(line, line, None, "asked", (Answer("a"), Answer("b")))


def test_the_order_follows_from_the_seed_and_puts_each_first_about_half_the_time() -> None:
    drawn = [order(2, row(line), 5) for line in range(1000)]
    assert drawn == [order(2, row(line), 5) for line in range(1000)]
    assert drawn != [order(2, row(line), 6) for line in range(1000)]
    assert 430 < sum(first == 0 for first, _ in drawn) < 570
    assert {tuple(order(3, row(line), 5)) for line in range(100)} == {
        *((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    }


def test_a_vote_names_the_model_behind_its_letter(tmp_path: Path) -> None:
    ballot = Ballot(MODELS, 5, 1)
    path = tmp_path / "votes.jsonl"
    winners = [0, 1, None, 0]
    lines = [ballot.record(row(line), winner) for line, winner in enumerate(winners, 1)]
    path.write_text("\n".join(lines) + '\n{"vote": "A", "mod')
    for line, winner in zip(map(json.loads, lines), winners, strict=True):
        assert sorted(line["order"]) == sorted(MODELS)
        if winner is None:
            assert (line["vote"], line["winner"]) == (TIE, None)
        else:
            assert line["winner"] == MODELS[winner] == line["order"]["AB".index(line["vote"])]
    assert list(read_votes(path)) == [(Vote(MODELS, winner), 5) for winner in winners]
    path.write_text(lines[0] + '\n{"vote": "A", "models": ["x", "y"], "winner": "z", "seed": 5}\n')
    with pytest.raises(BadInput, match=r"line 2, is not a vote of tulu compare"):
        list(read_votes(path))


def test_rates_leave_ties_aside_with_wilsons_interval_and_the_sign_test() -> None:
    winners = [0] * 8 + [1] * 2 + [None] * 5
    tally = Tally.of((Vote(MODELS, winner) for winner in winners), "x")
    value, low, high = tally.rate(0)
    assert (value, tally.ties, tally.decided) == (0.8, 5, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)  # Wilson's, by R's binom.confint
    assert tally.signs() == [(0, 1, 0.109375)]  # as R's binom.test(8, 10) has it
    made = tally.as_object()
    assert (made["votes"], made["models"][1]["wins"]) == (15, 2)
    assert any("chance explains the difference" in line for line in tally.as_lines())
    sure = Tally.of((Vote(MODELS, 0) for _ in range(6)), "x")
    assert sure.signs()[0][2] == 0.03125
    assert any("they differ" in line for line in sure.as_lines())


def test_ties_alone_have_no_rate_and_other_models_no_place_in_a_file() -> None:
    ties = Tally.of([Vote(MODELS, None)], "x")
    assert math.isnan(ties.rate(0)[0])
    assert ties.as_object()["models"][0]["win_rate"] is None
    assert ties.as_lines()[1].split()[:3] == ["first", "0", "-"]
    with pytest.raises(BadInput, match="x has no votes"):
        Tally.of([], "x")
    with pytest.raises(BadInput, match="x, line 2, is a vote on other models"):
        Tally.of([Vote(MODELS, 0), Vote(("first", "third"), 0)], "x")


def test_lines_of_a_pipe_are_votes() -> None:
    someone = Lines(io.BytesIO(b"a\n\n B \nTIE\nt\nc\nq\na\n"))
    assert [someone.ask("AB") for _ in range(4)] == ["A", "B", TIE, TIE]
    with pytest.raises(BadInput, match=r"Line 6 of the votes is 'c': A, B or t for a tie."):
        someone.ask("AB")
    assert someone.ask("AB") is None
    assert Lines(io.BytesIO(b"c")).ask("ABC") == "C"
    assert Lines(io.BytesIO(b"")).ask("AB") is None


def test_a_model_may_have_settings_of_its_own(tmp_path: Path) -> None:
    one = read_choice("8b,quantization=fp8,max-model-len=4096,top_p=1")
    assert (one.name, one.label) == ("8b", "8b,quantization=fp8,max-model-len=4096,top_p=1")
    assert one.settings == {"quantization": "fp8", "max_model_len": 4096, "top_p": 1.0}
    comma = tmp_path / "a,b=c"
    comma.mkdir()
    assert read_choice(str(comma)).settings == {}
    assert len(read_choices(["8b", "8b,seed=1", "8b,seed=2"])) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8b,quantisation=fp8", "no setting 'quantisation'. Is engine.quantization meant?"),
        ("8b,fp8", "'fp8' is not KEY=VALUE"),
        ("8b,", "'' is not KEY=VALUE"),
        (",dtype=auto", "takes a model's name"),
        ("8b,dtype=int9", "dtype takes auto, bfloat16"),
        ("8b,seed=x", "seed takes a whole number"),
        ("8b,seed=1,seed=2", "seed is given twice"),
        ("8b,model=70b", "no setting 'model'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="-m") as raised:
        read_choice(text)
    assert said in str(raised.value)


def test_the_same_model_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        read_choices(["8b,seed=1", "8b,seed=1"])
