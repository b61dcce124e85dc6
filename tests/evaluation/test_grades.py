"""Stored answers, with the value that the definition of their benchmark gives, odd ones too."""

import pytest

from tulu_cli.evaluation.tasks import drop, gsm8k, math, mmlu

GSM8K = [
    (" 16 - 3 = 13. So the answer is 13.", "13", "13", 1),
    ("So the answer is 13", "13", "13", 1),
    ("13", "13", "13", 1),
    ("She has 12 apples. So the answer is 13.", "12", "13", 0),
    ("The answer is $1,234.", "1234", "1234", 1),
    ("It costs 1,234,567 dollars", "1234567", "1234567", 1),
    ("It costs 12,34 dollars", "1234", "1234", 1),
    ("The answer is 1, 2", "2", "2", 1),
    ("So the answer is 13.00", "13", "13.00", 0),
    ("So the answer is 13.5.", "13.5", "13.5", 1),
    ("So the answer is .5", "0.5", ".5", 0),
    ("So the answer is -3.", "-3", "3", 0),  # an integer loses its sign
    ("So the answer is -3.", "3", "3", 1),
    ("So the answer is -3.5", "-3.5", "-3.5", 1),  # a decimal keeps it
    ("So the answer is +3.5", "3.5", "+3.5", 0),
    ("10-4.5", "4.5", "-4.5", 0),
    ("So the answer is thirteen.", "13", None, 0),
    ("", "13", None, 0),
    ("18 / 2 = 9", "9", "9", 1),
    ("The ratio is 1/2.", "2", "2", 1),
    ("50%", "50", "50", 1),
    ("The answer is 7.\n\nLet me check: 3 + 4", "7", "4", 0),
    ("The answer is 007", "7", "007", 0),
    ("The answer is 5 (five)", "5", "5", 1),
    ("7:30", "30", "30", 1),
    ("1e3", "1000", "3", 0),
    ("2^10 = 1024", "1024", "1024", 1),
]


@pytest.mark.parametrize(("text", "label", "extracted", "score"), GSM8K)
def test_gsm8k(text: str, label: str, extracted: str | None, score: float) -> None:
    grade = gsm8k.grade(text, label)
    assert (grade.extracted, grade.score) == (extracted, score)


FINAL = "Final Answer: The final answer is {}. I hope it is correct."
MATH = [
    ("So it is $\\boxed{2}$.", "2", 1),
    ("First $\\boxed{1}$, then $\\boxed{2}$.", "2", 1),
    ("First $\\boxed{2}$, then $\\boxed{1}$.", "2", 0),
    ("So it is $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}", 1),
    ("So it is $\\boxed{\\dfrac{1}{2}}$.", "\\frac{1}{2}", 1),
    ("So it is $\\boxed{\\frac12}$.", "\\frac{1}{2}", 1),
    ("So it is $\\boxed{0.5}$.", "\\frac{1}{2}", 1),
    ("So it is $\\boxed{\\frac{2}{4}}$.", "\\frac{1}{2}", 1),  # by sympy
    ("So it is $\\boxed{x+1}$.", "1+x", 1),
    ("So it is $\\boxed{x+1}$.", "x+2", 0),
    ("So it is $\\boxed{ 2 }$.", "2", 1),
    ("So it is $\\boxed{10\\%}$.", "10", 1),
    ("So it is $\\boxed{\\$10}$.", "10", 1),
    ("So it is $\\boxed{5\\text{ cm}}$.", "5", 1),
    ("So it is $\\boxed{90^\\circ}$.", "90", 1),
    ("So it is $\\boxed{\\left(1,2\\right)}$.", "(1,2)", 1),
    ("So it is $\\boxed{(2,1)}$.", "(1,2)", 0),
    ("So it is $\\boxed{\\text{Evelyn}}$.", "\\text{Evelyn}", 1),
    (FINAL.format("$2$"), "2", 1),
    (FINAL.format("$24$") + "\n\nProblem:", "24", 1),
    (FINAL.format("$x=3$"), "3", 1),
    ("$\\boxed{3}$ " + FINAL.format("$2$"), "2", 1),  # either is enough
    ("$\\boxed{3}$ " + FINAL.format("$2$"), "3", 1),
    ("$\\boxed{3}$ " + FINAL.format("$2$"), "4", 0),
    ("Thus $a=1$ and so $b=2$.", "2", 1),  # the last formula
    ("Thus $b=2$ and so $a=1$.", "2", 0),
    ("2", "2", 1),  # the whole text
    ("The answer is 2", "2", 0),
    ("So it is $\\boxed{2", "2", 0),
    ("", "2", 0),
]


@pytest.mark.parametrize(("text", "label", "score"), MATH)
def test_math(text: str, label: str, score: float) -> None:
    assert math.grade(text, label).score == score


PHRASE = "Therefore, the answer is ({})"
MMLU = [
    (PHRASE.format("B"), "B"),
    (f"It is hot. {PHRASE.format('C')}.", "C"),
    (f"{PHRASE.format('A')}. No: {PHRASE.format('D')}", "D"),  # the last phrase
    (f"{PHRASE.format('A')}. The answer is (D).", "A"),  # before any backup
    ("Therefore, the answer is B", "B"),
    ("therefore the answer is: (b)", "B"),
    ("Therefore, the answer is (b)", "B"),
    ("Therefore, the answer is **(B)**", "B"),  # any letter in parentheses
    ("The answer is C.", "C"),
    ("The correct answer is: (D)", "D"),
    ("The answer is C. The answer is D.", "C"),  # the first match of a backup
    ("answer is a good one", "A"),
    ("B is correct", "B"),
    ("(B) is correct, and (C) is not.", "B"),
    ("Option c) is correct", "C"),
    ("I choose (D) and not (A).", "D"),
    ("I choose D", "D"),
    ("A, B and C fail", "C"),  # the last letter of the line
    ("no letter\nB then C\nA", "C"),  # of the first line with one
    ("Banana", None),
    ("E", None),
    ("(E)", None),
    ("", None),
    ("Therefore, the answer is (E)", None),
    ("The answer is unclear. A", "A"),
    ("The answer is Aluminium", None),
    ("A good question has no answer", "A"),
]


@pytest.mark.parametrize(("text", "letter"), MMLU)
def test_mmlu(text: str, letter: str | None) -> None:
    grade = mmlu.grade(text, "B")
    assert (grade.extracted, grade.score) == (letter, float(letter == "B"))


DROP = [
    ("swedish", [["swedish"]], 1),
    (" Swedish.", [["swedish"]], 1),
    ("the Swedish people", [["swedish people"]], 1),
    ("swedish people", [["swedish"]], 0.67),
    ("german", [["swedish"]], 0),
    ("", [["swedish"]], 0),
    ("1507", [["1507"], ["1477"]], 1),
    ("1477", [["1507"], ["1477"]], 1),
    ("17,000", [["17000"]], 1),  # punctuation inside a number is removed
    ("17000.0", [["17000"]], 1),
    ("50 yards", [["50"]], 0.67),
    ("51 yards", [["50 yards"]], 0),  # another number: nothing is right
    ("yards", [["50 yards"]], 0),
    ("50", [["50 yards"]], 0.67),
    ("3 - 1", [["3"]], 0.67),
    ("18-24", [["18 to 24"]], 0.8),
    ("Twelve Articles", [["the Twelve Articles"]], 1),
    ("Spain Italy the Netherlands", [["Spain", "Italy", "the Netherlands"]], 0.17),
    ("Spain", [["Spain", "Italy"]], 0.5),  # one of two spans
    ("Spain, Italy", [["Spain", "Italy"]], 0.33),
    ("Spain", [["Italy"], ["Spain"]], 1),
    ("a", [["the"]], 1),  # both are empty: no word is wrong
    ("2.5 million", [["2.5"]], 0.67),
    ("$2.5", [["2.5"]], 0),  # "$2.5" loses its point and is 25
    ("July 4 1776", [["July 4, 1776"]], 1),
    ("half-time", [["half time"]], 1),
    ("Tony Romo Tony Romo", [["Tony Romo"]], 1),
]


@pytest.mark.parametrize(("text", "label", "score"), DROP)
def test_drop(text: str, label: list[list[str]], score: float) -> None:
    assert drop.grade(text, label).score == score
