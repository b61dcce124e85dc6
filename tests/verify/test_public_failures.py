"""Failures of other verifiers that were reported in public, each as a test that it is not ours."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.verify.test_ifeval import FUNCTION_ANSWERS, INSTRUCTION_ANSWERS, label, one
from tulu_cli.verify import compare, gsm8k, ifeval, math
from tulu_cli.verify.records import Judge
from tulu_cli.verify.rules import Chooser


def record(**row: Any) -> dict[str, Any]:
    return Judge(Chooser()).record(json.dumps(row).encode(), "line 1")[0]


def test_rewards_in_a_thread_are_those_of_the_main_thread() -> None:
    # verl, pull request 5635: signal.alarm raised outside the main thread, the error was swallowed,
    # and the reward of every row of MATH was 0.
    def rewards(number: int) -> tuple[float, float]:
        right, wrong = rf"\boxed{{\frac{{{number}}}{{9}}+x}}", r"\boxed{x}"
        gold = rf"x+\frac{{{2 * number}}}{{18}}"
        told = (record(dataset="MATH", ground_truth=gold, response=one) for one in (right, wrong))
        first, second = (one["reward"] for one in told)
        return first, second

    here = rewards(1)
    with ThreadPoolExecutor(4) as pool:
        there = list(pool.map(rewards, range(2, 8)))
    assert {here, *there} == {(10.0, 0.0)}


def test_an_answer_has_one_reward() -> None:
    # NeMo-RL, pull request 3635: two rewards for one sample.
    for count in (1, 2, 3):
        responses = ["It is 5."] * count
        found = record(dataset="gsm8k", ground_truth="5", responses=responses)
        assert len(found["verdicts"]) == count
    again = record(**record(dataset="gsm8k", ground_truth="5", response="It is 5."))
    assert [key for key in again if "reward" in key] == ["reward"]


@pytest.mark.parametrize("name", [*FUNCTION_ANSWERS, *INSTRUCTION_ANSWERS])
def test_no_check_passes_everything_or_nothing(name: str) -> None:
    # deepeval, pull request 3066: 18 of 29 checks of IFEval passed whatever the answer was.
    made = label if name in FUNCTION_ANSWERS else one
    arguments, right, wrong = (FUNCTION_ANSWERS | INSTRUCTION_ANSWERS)[name]
    given = made(name, arguments)
    assert [ifeval.verify(text, given).verified for text in (right, wrong)] == [True, False]


def test_the_label_and_the_answer_are_not_swapped() -> None:
    # open-r1, issue 557: gold and answer were given in the wrong order. Where the order matters,
    # a label is taken as it is, and an answer is looked for.
    assert gsm8k.verify("First 4, then 5", "5").verified
    assert math.verify(r"First $4$, then \boxed{5}", "5").verified
    assert compare.math_verify("The interval is $(1,2)$", "1<x<2").verified
    assert not compare.math_verify("It is $1<x<2$", "(1,2)").verified


@pytest.mark.parametrize("number", ["3", "3.5", "1200"])
def test_a_minus_sign_is_kept(number: str) -> None:
    # proeval, pull request 19: the sign of a number was lost, as open-instruct lost it in 2024.
    for answer, gold in ((f"-{number}", number), (number, f"-{number}")):
        assert not gsm8k.verify(f"It is {answer}.", gold).verified
        assert not math.verify(rf"\boxed{{{answer}}}", gold).verified
        assert not math.verify_strict(f"${answer}$", gold).verified
    assert gsm8k.verify(f"It is -{number}.", f"-{number}").verified
