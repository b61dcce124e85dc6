"""GSM8K: the last number of stored answers, as open-instruct takes it now and took it in 2024."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.errors import BadInput
from tulu_cli.verify.gsm8k import verify

# The answer, the label, and whether it is verified now and in 2024.
ANSWERS = [
    ("So the answer is 42.", "42", True, True),
    ("42", "42", True, True),
    ("42.0", "42", False, False),
    ("So the answer is 41.", "42", False, False),
    ("It is 42. No, wait: 43", "42", False, False),
    ("It is 43. No, wait: 42", "42", True, True),
    ("The total is $1,234.", "1234", True, True),
    ("The total is 1,234,567", "1234567", True, True),
    ("The total is 1,234", "1,234", False, False),  # commas are taken out of the answer alone
    ("1,2,3", "3", True, True),  # only every other comma of single digits
    ("She has -3 left", "-3", True, False),  # the sign of an integer was lost
    ("She has -3 left", "3", False, True),
    ("It is -3.5", "-3.5", True, True),  # that of a decimal never
    ("It is -3.5", "3.5", False, False),
    ("It is +7", "+7", True, False),
    ("5-3", "3", False, True),  # now a minus is a sign
    ("5 - 3", "3", True, True),
    ("2 + 2 = 4", "4", True, True),
    ("half is .5", ".5", True, True),
    ("half is .5", "0.5", False, False),
    ("half is 0.5", "0.5", True, True),
    ("It costs 12.", "12", True, True),
    ("It costs 12.50 dollars", "12.5", False, False),
    ("It costs 12.50 dollars", "12.50", True, True),
    ("It costs 3/4 of that", "4", True, True),
    ("1e5", "5", True, True),
    ("In 2024 it was 7 %", "7", True, True),
    ("**18**", "18", True, True),
    ("#### 18", "18", True, True),
    ("\\boxed{18}", "18", True, True),
    ("forty-two", "42", False, False),
    ("", "42", False, False),
    ("-", "42", False, False),
    ("٤٢", "42", False, False),  # digits, but not these
    ("no number\n<|assistant|>\n9", "9", True, True),
    ("9\n<|assistant|>\nno number", "9", True, False),  # of 2024 is the last turn alone
    ("18" + "\n" * 50, "18", True, True),
    ("3.14.15", ".15", True, True),
]


@pytest.mark.parametrize(("text", "label", "now", "then"), ANSWERS)
def test_a_stored_answer(text: str, label: str, now: bool, then: bool) -> None:
    assert (verify(text, label).verified, verify(text, label, "2024").verified) == (now, then)
    assert verify(text, label).score == now


def test_there_are_answers_enough() -> None:
    assert len(ANSWERS) >= 25


def test_a_lost_sign_is_explained() -> None:
    then = verify("It is -3.", "-3", "2024")
    assert (then.extracted, then.why) == (
        "3",
        "the last number is '3', and the label is '-3': in 2024 an integer lost its sign",
    )
    assert "compared as texts" in verify("42.0", "42").why


@pytest.mark.parametrize("label", [42, 42.5, ["42"], "-0.5", "$5", "1,234"])
def test_a_label_may_be_a_number(label: object) -> None:
    assert verify("nothing", label).verified is False


@pytest.mark.parametrize("label", [None, True, "", "  ", "abc", [], ["1", "2"], {}, "x = 3"])
def test_a_label_that_is_none_is_an_error(label: object) -> None:
    with pytest.raises(BadInput, match="label"):
        verify("It is 42.", label)


@given(st.text("0123456789+-., ax\n", max_size=24), st.sampled_from(["now", "2024"]))
def test_the_last_number_is_that_of_the_whole_pattern(text: str, era: str) -> None:
    pattern = r"[-+]?\d*\.\d+|\d+" if era == "2024" else r"[-+]?(?:\d*\.\d+|\d+)"
    numbers = re.findall(pattern, re.sub(r"(\d),(\d)", r"\1\2", text))
    found = verify(text, "1", "2024" if era == "2024" else "now").extracted
    assert found == (numbers[-1] if numbers else None)
