"""MATH: stored answers in each form, odd ones included, with what open-instruct says of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.errors import BadInput
from tulu_cli.verify.latex import hendrycks_equal, hendrycks_form, minerva_form
from tulu_cli.verify.math import boxed_answer, final_answer, last_formula, verify, verify_strict

FINAL = "Final Answer: The final answer is ${}$. I hope it is correct."
# The answer, the label, and what math says of it now and in 2024.
ANSWERS = [
    (r"So $\boxed{5}$.", "5", True, True),
    (r"So $\boxed{6}$.", "5", False, False),
    (r"\boxed{\frac{1}{2}}", "0.5", True, True),  # the same form
    (r"\boxed{\frac{2}{4}}", r"\frac{1}{2}", True, True),  # the same value
    (r"\boxed{\dfrac{1}{2}}", r"\frac{1}{2}", True, True),
    (r"\boxed{\frac12}", r"\frac{1}{2}", True, True),
    (r"\boxed{1/2}", r"\frac{1}{2}", True, True),
    (r"\boxed{x^2+2x+1}", r"(x+1)^2", True, True),
    (r"\boxed{x^2+2x+2}", r"(x+1)^2", False, False),
    (r"\boxed{\sqrt3}", r"\sqrt{3}", True, True),
    (r"\boxed{-\sqrt{3}}", r"\sqrt{3}", False, False),
    (r"\boxed{10\%}", "10", True, True),
    (r"\boxed{90^\circ}", "90", True, True),
    (r"\boxed{12\text{ cm}}", "12", True, True),
    (r"\boxed{x=4}", "4", True, True),
    (r"\boxed{(1,2)}", "(1,2)", True, True),
    (r"\boxed{(1, 2)}", "(1,2)", True, True),
    (r"\boxed{(2,1)}", "(1,2)", False, False),
    (r"\boxed{1} then \boxed{2}", "2", True, True),  # the last one counts
    (r"\boxed{1} then \boxed{2}", "1", False, False),
    (r"\boxed{\frac{1}{2}", r"\frac{1}{2}", False, False),  # not closed: no boxed answer
    (r"\boxed 7", "7", True, True),
    (r"\boxed 7$ and more", "7", True, True),  # up to a dollar sign
    (r"\fbox{7}", "7", False, False),
    (FINAL.format("5"), "5", True, True),
    (FINAL.format("5") + " " + FINAL.format("6"), "5", True, True),  # the first one counts
    (FINAL.format("5") + " " + FINAL.format("6"), "6", False, False),
    (r"\boxed{4} " + FINAL.format("5"), "5", True, True),  # either is enough
    (r"\boxed{4} " + FINAL.format("5"), "4", True, True),
    (r"\boxed{4} $5$", "5", False, False),  # a formula counts only where there is no other form
    ("so $x=4$ or $y=5$", "5", True, True),
    ("so $x=4$ or $y=5$", "4", False, False),
    ("it costs $5", "5", False, False),  # one dollar sign is no formula, and the text is long
    ("17", "17", True, True),  # the whole text
    ("x = 17", "17", True, True),
    ("", "17", False, False),
    (r"\text{5 m}", r"\text{5 m}", True, False),
    ("the number of ways is 3", "thenumberofis3", True, True),  # words of Minerva's list go
    (r"\text{evenly spaced}", r"\text{evenly spaced}", True, False),  # now the plain text counts
    (r"\boxed{}", "0", False, False),
    (r"\boxed{5}<|assistant|>" + "\n" + r"\boxed{6}", "5", False, False),
    ("\\boxed{5}\n<|assistant|>\nnothing", "5", True, False),
]


@pytest.mark.parametrize(("text", "label", "now", "then"), ANSWERS)
def test_a_stored_answer(text: str, label: str, now: bool, then: bool) -> None:
    assert (verify(text, label).verified, verify(text, label, "2024").verified) == (now, then)


# What strict_math says, in both eras.
STRICT = [
    (FINAL.format("5"), "5", True),
    (FINAL.format("6"), "5", False),
    (FINAL.format("x=5"), "5", True),
    (FINAL.format("10 \\text{cm}"), "10", True),
    (FINAL.format(r"\frac{2}{4}"), r"\frac{1}{2}", True),
    (FINAL.format(r"\frac24"), r"\frac{1}{2}", True),
    (FINAL.format("1,000"), "1000", True),
    (FINAL.format("1,000"), "1,000", True),  # sympy reads both alike
    (FINAL.format("(1,2)"), "(1,2)", True),
    (FINAL.format("5") + FINAL.format("6"), "5", True),
    (FINAL.format("5") + FINAL.format("6"), "6", False),
    (FINAL.format("0.5"), r"\frac{1}{2}", True),
    (FINAL.format("-3"), "-3", True),
    (FINAL.format("-3"), "3", False),
    (FINAL.format(r"\text{even}"), "even", True),
    (FINAL.format(r"\boxed{8}"), "8", True),
    (FINAL.format("90^{\\circ}"), "90", True),
    (FINAL.format("5").replace("hope", "think"), "5", True),
    (FINAL.format("5").lower(), "5", True),
    ("Final Answer: The final answer is 5. I hope it is correct.", "5", True),
    ("Final Answer: The final answer is\n5. I hope it is correct.", "5", False),
    ("Final Answer: The final answer is 5", "5", False),
    (r"\boxed{5}", "5", True),  # there the whole text is no more than the box
    (r"So \boxed{5}", "5", False),
    ("so $5$", "5", True),
    ("so $4$ or $5$", "5", False),
    ("5", "5", True),
    ("", "5", False),
]


@pytest.mark.parametrize(("text", "label", "expected"), STRICT)
def test_a_stored_answer_in_the_strict_form(text: str, label: str, expected: bool) -> None:
    assert verify_strict(text, label).verified is expected
    assert verify_strict(text, label, "2024").verified is expected


def test_there_are_answers_enough() -> None:
    assert len(ANSWERS) >= 25
    assert len(STRICT) >= 25


@pytest.mark.parametrize("label", [None, "", True, {}, []])
def test_a_label_that_is_none_is_an_error(label: object) -> None:
    with pytest.raises(BadInput, match="label"):
        verify(r"\boxed{5}", label)


def test_the_verdict_says_what_was_compared() -> None:
    assert verify(r"\boxed{\frac{2}{4}}", "0.5").why == "the boxed answer is the label's expression"
    assert verify(r"\boxed{0.5}", r"\frac12").why == "the boxed answer has the label's form"
    wrong = verify(r"\boxed{4} " + FINAL.format("5"), "6")
    assert wrong.why == ("the label '6' is not equal to the boxed answer '4', the final answer '5'")
    assert (wrong.extracted, verify("17", "17").extracted) == ("4", None)


def test_a_comparison_that_takes_too_long_is_told() -> None:
    found = verify(r"\boxed{7} so $x$", "8", compare=lambda one, other: None)
    assert found.verified is False
    assert found.why.endswith("; to compare them took too long")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{a{b}c}", "a{b}c"),
        (r"\boxed{a}{b}", "a"),
        (r"\boxed{a} \boxed{b", None),
        (r"\boxed a b$ c", "a b"),
        (r"\boxed{1} or \boxed 2", "2"),
        (r"\boxed\frac{1}{2}", None),
        (r"\boxed}{1}", None),
        ("none", None),
    ],
)
def test_the_boxed_answer(text: str, expected: str | None) -> None:
    assert boxed_answer(text) == expected


def test_the_final_answer_and_the_last_formula() -> None:
    assert final_answer(FINAL.format("1") + FINAL.format("2")) == "$1$"
    assert final_answer("Final Answer: The final answer is 5. ") == "5"  # the words end each text
    assert final_answer("The answer is 5.") is None
    assert last_formula("$1$ and $2$") == "2"
    assert last_formula("$1$ and $2") == " and "
    assert last_formula("$1") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 3", "3"),
        ("1,000,000", "1000000"),
        ("1,2", "12"),  # a list of digits is one number
        ("$3$ or $4$", "3"),
        (r"\frac12", r"\frac{1}{2}"),
        (r"\sqrt2", r"\sqrt{2}"),
        (r"\textbf{(A)}", "(A)"),
        (r"\overline{AB}", "AB"),
        ("12 square feet", "12"),
        ("a dog", "dog"),
        (r"3\text{ and }4", "34"),
        ("left", "le"),  # ft goes wherever it stands
    ],
)
def test_minervas_form(text: str, expected: str) -> None:
    assert minerva_form(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\tfrac{1}{2}", r"\frac{1}{2}"),
        (r"\frac1b", r"\frac{1}{b}"),
        (r"\frac1{72}", r"\frac{1}{72}"),
        (r"\left(1\right)", "(1)"),
        (r"\sqrt{2}\sqrt3", r"\sqrt{2}\sqrt{3}"),
        (".5", r"\frac{1}{2}"),
        ("0.5", r"\frac{1}{2}"),
        ("3/4", r"\frac{3}{4}"),
        ("03/4", "03/4"),
        ("k=7", "7"),
        ("sum=7", "sum=7"),
        (r"5\text{ m}", "5"),
        ("", ""),
        (r"\frac1", r"\frac1"),
    ],
)
def test_hendrycks_form(text: str, expected: str) -> None:
    assert hendrycks_form(text) == expected


@pytest.mark.parametrize("text", ["a/b", r"\frac", r"\sqrt", r"\text{ a}\text{ b}", "1/"])
def test_what_has_no_form_equals_itself_alone(text: str) -> None:
    with pytest.raises(ValueError):
        hendrycks_form(text)
    assert hendrycks_equal(text, text)
    assert not hendrycks_equal(text, text + " ")


@given(st.text(r"\frac{}sqt1/2=$. ,", max_size=20))
def test_every_text_has_a_verdict(text: str) -> None:
    assert verify(text, "7", compare=lambda one, other: False).verified in (True, False)
    assert hendrycks_equal(text, text)
