"""IFEval: for each check one answer that follows it and one that does not, so none passes all."""

import json
from typing import Any

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.verify.ifeval import verify
from tulu_cli.verify.ifeval.functions import FUNCTIONS, FUNCTIONS_2024
from tulu_cli.verify.ifeval.instructions import INSTRUCTIONS
from tulu_cli.verify.ifeval.language import sentences_of, words_of

ENGLISH = "This is a sentence that is written in the English language."
GERMAN = "Dies ist ein Satz, der in deutscher Sprache geschrieben worden ist."

# The arguments of a function of 2024's labels, an answer that satisfies it and one that does not.
FUNCTION_ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "verify_keywords": ({"keyword_list": ["Sun", "moon"]}, "sun and Moonlight", "sun"),
    "verify_keyword_frequency": ({"word": "Sun", "N": 2}, "sun, SUN! sunny", "sun sunsun"),
    "validate_forbidden_words": ({"forbidden_words": ["sun"]}, "moon", "Sunday"),
    "verify_letter_frequency": ({"letter": "a", "N": 2}, "a bA a", "a A"),
    "validate_response_language": ({"language": "de"}, GERMAN, ENGLISH),
    "verify_paragraph_count": ({"N": 2}, "one\n* * *\ntwo", "one\n\n* * *\n"),
    "validate_word_constraint": ({"N": 3, "quantifier": "at most"}, "a b c", "a b c d"),
    "verify_sentence_constraint": ({"N": 2, "quantifier": "at least"}, "One. Two?", "One, two."),
    "validate_paragraphs": ({"N": 2, "first_word": "Two", "i": 2}, "One\n\nTwo x", "Two\n\nOne"),
    "verify_postscript": ({"postscript_marker": "P.S."}, "Hi. P.S. bye", "Hi. P.S. "),
    "validate_placeholders": ({"N": 2}, "[name] and [street]", "[name] (street)"),
    "verify_bullet_points": ({"N": 2}, "* one\n - two\nthree", "* one\n* two\n* three"),
    "validate_title": ({}, "<<Song>>\nla", "<Song>\nla"),
    "validate_choice": ({"options": ["yes", "no"]}, "yes", "perhaps"),
    "validate_highlighted_sections": ({"N": 2}, "*one* and *two*", "*one* and two*"),
    "validate_sections": ({"N": 2, "section_splitter": "##"}, "##one##two", "one"),
    "validate_json_format": ({}, '{"a": 1}', "{a: 1}"),
    "validate_repeat_prompt": ({"original_prompt": "Say hi."}, "Say hi. Hi!", "Hi! Say hi."),
    "validate_two_responses": ({}, "one ****** two", "one ****** one"),
    "validate_uppercase": ({}, "ALL OF IT", "NOT ALL OF iT"),
    "validate_lowercase": ({}, "all of it", "Not all of it"),
    "validate_frequency_capital_words": ({"N": 2, "quantifier": "at least"}, "A BC d", "A Bc d"),
    "validate_end": ({"end_phrase": "The end."}, "So it is. The end.", "The end. Or not"),
    "validate_quotation": ({}, '"quoted"', '"quoted'),
    "validate_no_commas": ({}, "one and two", "one, two"),
}


def label(name: str, arguments: dict[str, Any]) -> str:
    """A label as the data of RLVR have it: what is not used is null."""
    return json.dumps({"func_name": name, "N": None, "quantifier": None, **arguments})


@pytest.mark.parametrize("name", FUNCTION_ANSWERS)
def test_a_function_takes_one_answer_and_refuses_another(name: str) -> None:
    arguments, right, wrong = FUNCTION_ANSWERS[name]
    for era in ("now", "2024"):
        old = era == "2024"
        assert verify(right, label(name, arguments), "2024" if old else "now").verified
        passes_all = old and name == "validate_placeholders"
        found = verify(wrong, label(name, arguments), "2024" if old else "now")
        assert found.verified is passes_all
        assert found.why == f"{name} is {'' if passes_all else 'not '}satisfied"


def test_the_functions_are_all_25() -> None:
    assert set(FUNCTIONS) == set(FUNCTIONS_2024) == set(FUNCTION_ANSWERS)
    assert len(FUNCTIONS) == 25


@pytest.mark.parametrize(
    ("name", "arguments", "text", "now", "then"),
    [
        ("validate_placeholders", {"N": 3}, "none", False, True),  # it returned a pair: always true
        ("validate_choice", {"options": ["yes", "no"]}, "yes, sure", True, False),  # turned round
        ("validate_choice", {"options": ["yes", "no"]}, "e", False, True),
        ("verify_sentence_constraint", {"N": 3, "quantifier": "at least"}, "A! B! C!", True, False),
        ("validate_frequency_capital_words", {"N": 2, "quantifier": "around"}, "A", True, False),
        ("validate_no_commas", {}, "<think>a, b</think>c", True, False),  # now the thought is cut
        ("validate_end", {"end_phrase": "x"}, "<answer>x</answer>", True, False),
    ],
)
def test_what_the_eras_differ_in(
    name: str, arguments: dict[str, Any], text: str, now: bool, then: bool
) -> None:
    given = label(name, arguments)
    assert (verify(text, given).verified, verify(text, given, "2024").verified) == (now, then)


@pytest.mark.parametrize(
    ("quantifier", "counts"),
    [("at least", {10, 11, 12}), ("at most", {8, 9, 10}), ("around", {9, 10, 11}), ("odd", set())],
)
def test_quantifiers(quantifier: str, counts: set[int]) -> None:
    given = label("validate_word_constraint", {"N": 10, "quantifier": quantifier})
    assert {n for n in range(8, 13) if verify("word " * n, given).verified} == counts


PROMPT = "Tell me a joke."
# The arguments of an instruction, an answer that follows it and one that does not.
INSTRUCTION_ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "keywords:existence": ({"keywords": ["sun", "mo+n"]}, "Sun, moon", "sun, mn"),
    "keywords:frequency": (
        {"keyword": "sun", "frequency": 2, "relation": "at least"}, "Sunny sun", "sun"
    ),
    "keywords:word_count_different_numbers": (
        {"keyword": "sun", "frequency": 2, "relation": "less than"}, "sun", "sun sun"
    ),
    "keywords:forbidden_words": ({"forbidden_words": ["sun"]}, "Sunday", "the SUN."),
    "keywords:letter_frequency": (
        {"letter": "A", "let_frequency": 2, "let_relation": "at least"}, "aA", "a"
    ),
    "letters:letter_counting2": (
        {"letter": "a", "let_frequency": 2, "let_relation": "less than"}, "a", "Aa"
    ),
    "language:response_language": ({"language": "de"}, GERMAN, ENGLISH),
    "length_constraints:number_sentences": (
        {"num_sentences": 2, "relation": "less than"}, "Dr. Who is one.", "One is. Two is."
    ),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "one\n***\ntwo", "one two"),
    "length_constraints:number_words": (
        {"num_words": 3, "relation": "at least"}, "it's two", "it is"
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Two"}, "1\n\n'two, x", "two\n\n1"
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[a] [b]", "[a] b]"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "Hi\np. s. bye", "Hi\nPS bye"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n- b", "* a\n** b **"),
    "detectable_format:constrained_response": ({}, "My answer is yes.", "yes"),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*a* *b*", "*a* **"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1 a SECTION 2 b", "SECTION 1 a"
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', "```json\n{a}\n```"),
    "detectable_format:title": ({}, "<<A song>>", "<< >>"),
    "combination:two_responses": ({}, "******\none ****** two", "one ****** one"),
    "combination:repeat_prompt": ({"prompt_to_repeat": PROMPT}, f"{PROMPT} Ha.", "Ha."),
    "copy:copy": ({"prompt_to_repeat": PROMPT}, PROMPT.upper(), f"{PROMPT} Ha."),
    "copy:copying_simple": ({"prompt_to_repeat": PROMPT}, PROMPT, "Ha."),
    "copy:copying_multiple": (
        {"prompt_to_repeat": PROMPT, "N": 2}, f"{PROMPT}\n******\n{PROMPT}", PROMPT
    ),
    "new:copy_span_idx": (
        {"prompt_to_repeat": PROMPT, "n_start": 5, "n_end": 9}, "ME A", "Tell me a"
    ),
    "copy:repeat_phrase": (
        {"phrase": "the sun is up", "small_n": 2},
        "the moon is up, the sun was up",
        "the sun is up, the sun is up",
    ),
    "startend:end_checker": ({"end_phrase": "The end."}, 'So. "the END."', "The end. Or"),
    "startend:quotation": ({}, ' "quoted" ', '"'),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"}, "NASA and ESA", "NASA and Esa"
    ),
    "change_case:english_capital": ({}, ENGLISH.upper(), ENGLISH),
    "change_case:english_lowercase": ({}, ENGLISH.lower(), GERMAN.lower()),
    "punctuation:no_comma": ({}, "one two", "one, two"),
    "punctuation:punctuation_dot": ({}, "one!", "one."),
    "punctuation:punctuation_exclamation": ({}, "one.", "one!"),
    "detectable_format:sentence_hyphens": ({}, "One is.-Two is.", "One is. - Two is."),
    "keywords:no_adjacent_consecutive": ({}, "all cats", "all birds"),
    "detectable_format:square_brackets": ({}, "[one] [two]", "[one] two"),
    "keywords:word_once": ({"keyword": "sun"}, "a Sunday", "sun, sun"),
    "keywords:exclude_word_harder": ({"keyword": "sun"}, "the sun.", "the sun is up"),
    "paragraphs:paragraphs": ({}, "one *** two", "one"),
    "paragraphs:paragraphs2": ({}, "one\n\ntwo", "one\ntwo"),
    "first_word:first_word_sent": ({"first_word": ["So"]}, "So one. SO two.", "So one. Two."),
    "first_word:first_word_answer": ({"first_word": "so"}, "So one", "One so"),
    "last_word:last_word_sent": ({"last_word": "so"}, "It is so! I say so.", "It is so. Or not."),
    "last_word:last_word_answer": ({"last_word": "so"}, "It is So.", "so it is"),
    "detectable_format:bigram_wrapping": ({}, "<<I am>> <<at home>>", "<<I am at>> home"),
    "count:lowercase_counting": ({"N": 1}, "One two THREE", "one two"),
    "letters:letter_counting": ({"N": 3, "relation": "at least"}, "a1b2c3", "a1b2"),
    "count:counting_composition": (
        {"n_sent": 1, "n_words": 3},
        "I am. *** You are. *** He is.",
        "I am here. *** You are. *** He is.",
    ),
    "count:count_unique": ({}, "one two three", "one two one"),
    "count:count_increment_word": (
        {"keyword1": "sun", "keyword2": "moon"}, "sun moon moon", "sun moon"
    ),
    "keywords:palindrome": ({}, "Take the level road", "Take the road"),
    "keywords:keyword_specific_position": (
        {"keyword": "sun", "n": 2, "m": 3}, "Look. Is the sun up?", "Is the sun up? Look."
    ),
    "keywords:start_end": ({}, "So it is so", "So it is"),
}  # fmt: skip


def one(name: str, arguments: Any) -> str:
    """A label of now, of one instruction, as the data have it: in Python's notation."""
    return repr([{"instruction_id": [name], "kwargs": [arguments]}])


@pytest.mark.parametrize("name", INSTRUCTION_ANSWERS)
def test_an_instruction_takes_one_answer_and_refuses_another(name: str) -> None:
    arguments, right, wrong = INSTRUCTION_ANSWERS[name]
    assert verify(right, one(name, arguments)).verified is True
    found = verify(wrong, one(name, {**arguments, "unused": None}))
    assert (found.verified, found.score) == (False, 0)
    assert found.why == f"0 of 1 instructions are followed; not {name}"


def test_the_instructions_are_all_54() -> None:
    assert set(INSTRUCTIONS) == set(INSTRUCTION_ANSWERS)
    assert len(INSTRUCTIONS) == 54


def test_several_instructions_have_the_mean_as_their_score() -> None:
    names = ["punctuation:no_comma", "keywords:existence", "startend:quotation"]
    given = {"instruction_id": names, "kwargs": [None, {"keywords": ["b"]}, {}]}
    found = verify("<think>a, b</think><answer>b</answer>", json.dumps([given]))
    assert (found.verified, round(found.score, 3)) == (False, 0.667)
    assert found.why == "2 of 3 instructions are followed; not startend:quotation"
    assert verify('"b"', json.dumps([given])).score == 1
    assert verify("<think>b", json.dumps([given])).verified is False
    assert verify("b</think>", given).why == "the answer is empty"


@pytest.mark.parametrize(
    "given",
    [
        '{"func_name": "validate_no_commas"}',
        {"func_name": "validate_no_commas", "N": None},
        "[{'instruction_id': ['punctuation:no_comma'], 'kwargs': [None]}]",
        '[{"instruction_id": ["punctuation:no_comma"], "kwargs": [{}]}]',
        [{"instruction_id": ["punctuation:no_comma"], "kwargs": [None]}],
        ['{"instruction_id": ["punctuation:no_comma"], "kwargs": [null]}'],
        repr(['{"instruction_id": ["punctuation:no_comma"], "kwargs": [null]}']),
    ],
    ids=repr,
)
def test_the_forms_of_a_label(given: object) -> None:
    assert verify("a b", given).verified is True
    assert verify("a, b", given).verified is False


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "instruction_id"),
        ("", "not JSON"),
        ("no label", "not JSON"),
        ("[", "not JSON"),
        ([], "instruction_id"),
        (7, "instruction_id"),
        ({"func_name": None}, "not an instruction"),
        ({"func_name": "validate_all"}, "not an instruction"),
        ({"func_name": "validate_title", "N": 3}, "has N, which means nothing there"),
        ({"func_name": "validate_placeholders"}, "lacks N"),
        ({"func_name": "validate_placeholders", "N": "3"}, "N is '3'"),
        ({"func_name": "verify_keywords", "keyword_list": "sun"}, "keyword_list is 'sun'"),
        ({"func_name": "verify_letter_frequency", "letter": "ab", "N": 1}, "not one letter"),
        ({"func_name": "validate_paragraphs", "N": 1, "i": 9, "first_word": "x"}, "range"),
        ({"instruction_id": ["a:b"], "kwargs": [None]}, "not an instruction"),
        ({"instruction_id": ["a:b"], "kwargs": []}, "lists of one length"),
        ({"instruction_id": [], "kwargs": []}, "no instruction"),
        ({"instruction_id": ["startend:quotation"], "kwargs": [3]}, "not an object"),
        (one("keywords:existence", {}), "lacks keywords"),
        (one("keywords:existence", {"keywords": ["("]}), "does not fit"),
        (one("keywords:existence", {"keywords": []}), "no keywords"),
        (one("length_constraints:number_words", {"num_words": 3}), "lacks relation"),
        (one("length_constraints:number_words", {"num_words": 3, "relation": "x"}), "less than"),
        (one("letters:letter_counting", {"N": -1, "relation": "at least"}), "negative"),
    ],
    ids=str,
)
def test_a_label_that_is_none_is_an_error(given: object, problem: str) -> None:
    with pytest.raises(BadInput, match="the label") as raised:
        verify("text", given)
    assert problem in str(raised.value)


def test_2024_had_labels_of_one_function_alone() -> None:
    with pytest.raises(BadInput, match="func_name"):
        verify("a b", one("punctuation:no_comma", None), "2024")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        ("Dr. Who saw Mr. X on x.com.", ["Dr. Who saw Mr. X on x.com."]),
        ("It is 3.14, e.g. pi... Yes", ["It is 3.14, e.g. pi...", "Yes"]),
        ("He has a Ph.D. in it", ["He has a Ph.D. in it"]),
        ("U.S. He said", ["U.S.", "He said"]),
        ('"Go." she said', ['"Go".', "she said"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences_of(text) == expected


def test_words() -> None:
    assert words_of("It isn't so. Is it?") == ["It", "is", "n't", "so", ".", "Is", "it", "?"]
