"""Stored answers, with the value that the definition of their benchmark gives, odd ones too."""

from typing import Any

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.evaluation.tasks import bbh, drop, gsm8k, ifeval, math, mmlu, popqa, truthfulqa

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


# Subset, answer, target, what is taken from the answer, and its score.
BBH = [
    ("navigate", "Back at 0. So the answer is Yes.", "Yes", "Yes", 1),
    ("navigate", "so the answer is yes", "Yes", "yes", 1),
    ("navigate", "So the answer is No. So the answer is Yes.", "Yes", "Yes", 1),  # the last one
    ("navigate", "The answer is No. So the answer is Yes", "No", "Yes", 0),
    ("navigate", "The answer is No, as the answer is Yes", "Yes", "Yes", 1),
    ("navigate", "Answer: I think that it is no", "No", "no", 1),
    ("navigate", "My answer, Yes, is not No", "No", "No", 1),  # "answer" alone says nothing
    ("navigate", "I know", "No", "no", 1),  # as a part of a word
    ("navigate", "YES", "Yes", "YES", 1),  # in any case, at last
    ("navigate", "NO, yes", "Yes", "yes", 1),
    ("navigate", "It is unclear", "No", None, 0),
    ("navigate", "", "No", None, 0),
    ("boolean_expressions", "So the answer is **True**.", "True", "True", 1),
    ("boolean_expressions", "Untrue", "True", "true", 1),
    ("snarks", "So the answer is (B).", "(B)", "(B)", 1),
    ("snarks", "So the answer is B.", "(B)", "(B)", 1),
    ("snarks", "(A) is odd. So the answer is B.", "(B)", "(A)", 0),  # brackets before a lone letter
    ("snarks", "I choose option A", "(A)", "(A)", 1),
    ("snarks", "the answer is (a)", "(A)", "(a)", 1),
    ("snarks", "**(A)** and not (C)", "(C)", "(C)", 1),
    ("ruin_names", "So the answer is (C).", "dearth, wind, & fire", "(C)", 0),
    ("object_counting", "So the answer is 12.", "12", "12", 1),
    ("object_counting", "Answer: 3 + 4 = 7", "7", "3", 0),  # the first behind it
    ("object_counting", "3 + 4 = 7", "7", "7", 1),
    ("multistep_arithmetic_two", "So the answer is -24.", "24", "-24", 1),  # the sign is lost
    ("multistep_arithmetic_two", "So the answer is 1,024.", "1024", "1", 0),
    ("word_sorting", "So the answer is ant bee cat.", "ant bee cat", "ant bee cat", 1),
    ("word_sorting", "So the answer is Ant Bee.", "ant bee", "Ant Bee", 1),
    ("word_sorting", "So the answer is ant, bee.", "ant bee", "ant", 0),
    ("word_sorting", "So the answer is o'neil ox.", "o'neil ox", "o", 0),
    ("dyck_languages", "So the answer is ] ) >.", "] ) >", "] ) >", 1),
    ("dyck_languages", "So the answer is ] )>", "] ) >", "] )>", 0),  # spaces count, and brackets
    ("formal_fallacies", "The argument is invalid.", "invalid", "invalid", 1),
    ("formal_fallacies", "It is deductively valid.", "invalid", "valid", 0),
]


@pytest.mark.parametrize(("subset", "text", "target", "extracted", "score"), BBH)
def test_bbh(subset: str, text: str, target: str, extracted: str | None, score: float) -> None:
    grade = bbh.grade(text, {"subset": subset, "target": target})
    assert (grade.extracted, grade.score) == (extracted, score)


def test_a_target_of_bbh_may_be_a_sentence() -> None:
    assert len(bbh.SUBSETS) == 27
    assert bbh._target("It turns. So the answer is (A).") == "(A)"
    assert bbh._target("(A)") == "(A)"


POPQA = [
    (" politician", ["politician"], "politician"),
    (" He is a politician.", ["politician"], "politician"),
    (" Politician", ["politician"], "Politician"),  # capitalised
    (" POLITICIAN", ["politician"], None),
    (" politicians", ["politician"], "politician"),  # a part of a word
    (" a writer", ["politician", "writer"], "writer"),
    (" writer, politician", ["politician", "writer"], "politician"),  # the first name of the label
    (" not a politician", ["politician"], "politician"),
    (" new york", ["New York"], "new york"),
    (" New york", ["New York"], "New york"),  # str.capitalize has one capital
    (" new York", ["New York"], None),
    (" New York City", ["New York"], "New York"),
    (" York", ["New York"], None),
    (" U.S.", ["US", "U.S."], "U.S."),
    (" Austria", ["US", "us"], "us"),
    (" é", ["É"], "é"),
    (" e", ["é"], None),
    ("", ["a"], None),
    ("\n", ["a"], None),
    (" 1984", ["1984"], "1984"),
    (" 19840", ["1984"], "1984"),
    (" pol", ["politician", "pol"], "pol"),
    (" The occupation is", ["politician"], None),
    (" Ann\nQ: Who is Bob? A: Bob", ["Bob"], "Bob"),  # whatever follows
    (" jazz, rock", ["rock music", "rock"], "rock"),
    (" Rock", ["rock music", "rock"], "Rock"),
    (" iPhone", ["IPhone"], None),
]


@pytest.mark.parametrize(("text", "names", "found"), POPQA)
def test_popqa(text: str, names: list[str], found: str | None) -> None:
    grade = popqa.grade(text, names)
    assert (grade.extracted, grade.score) == (found, float(found is not None))


INF = float("inf")
TRUTHFULQA = [
    ([-1, -1], [1, 0], 0.5),
    ([-1, -1], [0, 1], 0.5),
    ([-1, -1, -1, -1], [1, 0, 0, 0], 0.25),
    ([-1, -1, -1, -1], [1, 1, 1, 0], 0.75),
    ([0, -100], [1, 0], 1),
    ([-100, 0], [1, 0], 0),
    ([-3, -4], [1, 0], 0.731059),
    ([-4, -3], [1, 0], 0.268941),
    ([-3], [1], 1),
    ([-3], [0], 0),
    ([-3, -4], [1, 1], 1),
    ([-3, -4], [0, 0], 0),
    ([-3, -INF], [1, 0], 1),
    ([-3, -INF], [0, 1], 0),
    ([-INF, -INF], [1, 0], 0),
    ([-2000, -2001], [1, 0], 0.731059),  # of sums that no float has
    ([-2000, -2000], [1, 0], 0.5),
    ([-1, -2, -3], [1, 0, 0], 0.665241),
    ([-1, -2, -3], [0, 1, 0], 0.244728),
    ([-1, -2, -3], [0, 0, 1], 0.090031),
    ([-1, -2, -3], [1, 0, 1], 0.755272),
    ([-10, -10.5, -9, -12], [1, 1, 0, 0], 0.360197),
    ([-12.25, -12.25], [True, False], 0.5),
    ([-5, -5, -5], [1, 1, 0], 0.666667),  # the same answer twice counts twice
    ([-0.0, -0.0], [1, 0], 0.5),
    ([-1e-9, -20], [0, 1], 0),
    ([-745, 0], [1, 0], 0),
]


@pytest.mark.parametrize(("logprobs", "labels", "score"), TRUTHFULQA)
def test_truthfulqa(logprobs: list[float], labels: list[int], score: float) -> None:
    assert truthfulqa.grade(logprobs, labels).score == pytest.approx(score, abs=1e-6)


Instruction = tuple[str, dict[str, Any]]
COMMA: Instruction = ("punctuation:no_comma", {})
FEW: Instruction = ("length_constraints:number_words", {"relation": "less than", "num_words": 5})
STARS: Instruction = ("detectable_format:number_highlighted_sections", {"num_highlights": 1})
BULLETS: Instruction = ("detectable_format:number_bullet_lists", {"num_bullets": 2})
QUOTED: Instruction = ("startend:quotation", {})
JSON: Instruction = ("detectable_format:json_format", {})
END: Instruction = ("startend:end_checker", {"end_phrase": "Bye."})
LOWER: Instruction = ("change_case:english_lowercase", {})
# Answer, instructions, and how many are followed: loosely, and by the answer as it is.
IFEVAL = [
    ("No comma", [COMMA], 1, 1),
    ("A, comma", [COMMA], 0, 0),
    ("Sure, here it is:\nNo comma", [COMMA], 1, 0),  # without the first line
    ("No comma\nWell, bye", [COMMA], 1, 0),  # without the last one
    ("Sure, here:\nNo comma\nWell, bye", [COMMA], 1, 0),  # without either
    ("One, line", [COMMA], 0, 0),  # a text of no line follows nothing
    ("Two, lines\nof, commas", [COMMA], 0, 0),
    ("No comma", [COMMA, FEW], 2, 2),
    ("No comma in five words here", [COMMA, FEW], 1, 1),
    ("A, comma in five words here", [COMMA, FEW], 0, 0),
    ("Sure, here:\nNo comma", [COMMA, FEW], 2, 1),
    ("Here it is again my friend\nA, b\nSo, no", [COMMA, FEW], 1, 0),  # each in a text of its own
    ("", [COMMA], 0, 0),
    (" \n ", [COMMA], 0, 0),
    ("*bold*", [STARS], 1, 1),
    ("bold", [STARS], 0, 0),
    ("* one\n* two", [BULLETS], 1, 1),
    ("* one\n* two\n* three", [BULLETS], 1, 0),  # less one of them
    ("- one\n* two", [BULLETS], 1, 1),
    ('"It is"', [QUOTED], 1, 1),
    ('*"It is"*', [QUOTED], 1, 0),  # without asterisks
    ('Here:\n*"It is"*', [QUOTED], 1, 0),  # without both
    ('**{"a": 1}**', [JSON], 1, 0),
    ('Here:\n```json\n{"a": 1}\n```', [JSON], 1, 0),
    ("Well. Bye.", [END], 1, 1),
    ("Well. Bye.\n\nAnything else?", [END], 1, 0),
    ("Well. **Bye.**", [END], 1, 0),
    ("see the light of day my dear friend", [LOWER], 1, 1),
    ("Here:\nsee the light of day my dear friend", [LOWER], 1, 0),
]


@pytest.mark.parametrize(("text", "instructions", "loose", "strict"), IFEVAL)
def test_ifeval(text: str, instructions: list[Instruction], loose: int, strict: int) -> None:
    names, given = [name for name, _ in instructions], [one for _, one in instructions]
    grade = ifeval.grade(text, {"instruction_id": names, "kwargs": given})
    count = len(instructions)
    assert grade.score == float(loose == count)
    assert grade.beside == {
        "prompts, strict": (int(strict == count), 1),
        "instructions, loose": (loose, count),
        "instructions, strict": (strict, count),
    }


def test_an_instruction_that_is_not_known_is_told_whatever_the_answer_is() -> None:
    with pytest.raises(BadInput, match="which is not an instruction"):
        ifeval.grade("", {"instruction_id": ["x:y"], "kwargs": [{}]})
