"""The 25 functions that the labels of Tülu 3's RLVR data name, as they are now and as in 2024.

Source: open-instruct, `if_functions.py`, at 9c2d44be (2024-11-20) and e6c3044 (2026-08-20). The
names of the functions and of their arguments are those of the labels.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tulu_cli.verify.ifeval.language import language_of


def _compared(count: int, quantifier: str, wanted: float, tolerance: float) -> bool:
    """Return whether a count is at least, at most or around the wanted one; else False."""
    if quantifier == "at least":
        return count >= wanted
    if quantifier == "at most":
        return count <= wanted
    return quantifier == "around" and abs(count - wanted) <= tolerance


def _tenth(number: float) -> int:
    return max(round(number * 0.1), 1)


def _verify_keywords(text: str, keyword_list: Sequence[str]) -> bool:
    return all(keyword.lower() in text.lower() for keyword in keyword_list)


def _verify_keyword_frequency(text: str, word: str, N: float) -> bool:  # noqa: N803
    return re.findall(r"\b\w+\b", text.lower()).count(word.lower()) == N


def _validate_forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(word.lower() in text.lower() for word in forbidden_words)


def _verify_letter_frequency(text: str, letter: str, N: float) -> bool:  # noqa: N803
    if len(letter) != 1:
        raise ValueError("letter is not one letter")
    return text.count(letter) == N


def _validate_response_language(text: str, language: str) -> bool:
    return language_of(text) == language


def _verify_paragraph_count(text: str, N: float) -> bool:  # noqa: N803
    stripped = "\n".join(line.strip() for line in text.splitlines()).strip()
    paragraphs = stripped.split("* * *")
    return len(paragraphs) == N and all(part.strip() for part in paragraphs)


def _validate_word_constraint(text: str, N: float, quantifier: str) -> bool:  # noqa: N803
    return _compared(len(text.split()), quantifier, N, _tenth(N))


def _sentences(ends: str) -> Callable[[str, float, str], bool]:
    pattern = re.compile(rf"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<={ends})\s")

    def check(text: str, N: float, quantifier: str) -> bool:  # noqa: N803
        return _compared(len(pattern.split(text)), quantifier, N, 1)

    return check


def _validate_paragraphs(text: str, N: float, first_word: str, i: int) -> bool:  # noqa: N803
    paragraphs = text.split("\n\n")
    return len(paragraphs) == N and paragraphs[i - 1].strip().startswith(first_word)


def _verify_postscript(text: str, postscript_marker: str) -> bool:
    _, marker, rest = text.partition(postscript_marker)
    return bool(marker) and len((marker + rest).strip()) > len(marker)


def _validate_placeholders(text: str, N: float) -> bool:  # noqa: N803
    return len(re.findall(r"\[.*?\]", text)) >= N


def _validate_placeholders_2024(text: str, N: float) -> bool:  # noqa: ARG001, N803
    # It returned a pair, of whether and which, and a pair is true.
    return True


def _verify_bullet_points(text: str, N: float) -> bool:  # noqa: N803
    return sum(line.strip().startswith(("*", "-")) for line in text.split("\n")) == N


def _validate_title(text: str) -> bool:
    return re.search(r"<<.*?>>", text) is not None


def _validate_choice(text: str, options: Sequence[str]) -> bool:
    return any(option in text for option in options)


def _validate_choice_2024(text: str, options: Sequence[str]) -> bool:
    return any(text in option for option in options)  # the other way round, so "" is a choice


def _validate_highlighted_sections(text: str, N: float) -> bool:  # noqa: N803
    return len(re.findall(r"\*.*?\*", text)) >= N


def _validate_sections(text: str, N: float, section_splitter: str) -> bool:  # noqa: N803
    sections = text.split(section_splitter)
    return len(sections) - (sections[0] == "") == N


def _validate_json_format(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _validate_repeat_prompt(text: str, original_prompt: str) -> bool:
    return text.startswith(original_prompt)


def _validate_two_responses(text: str) -> bool:
    one, *others = text.split("******")
    return len(others) == 1 and one.strip() != others[0].strip()


def _validate_uppercase(text: str) -> bool:
    return text == text.upper()


def _validate_lowercase(text: str) -> bool:
    return text == text.lower()


def _capital_words(tolerance: Callable[[float], float]) -> Callable[[str, float, str], bool]:
    def check(text: str, N: float, quantifier: str) -> bool:  # noqa: N803
        count = len(re.findall(r"\b[A-Z]+\b", text))
        return _compared(count, quantifier, N, tolerance(N))

    return check


def _validate_end(text: str, end_phrase: str) -> bool:
    return text.endswith(end_phrase)


def _validate_quotation(text: str) -> bool:
    return text.startswith('"') and text.endswith('"')


def _validate_no_commas(text: str) -> bool:
    return "," not in text


_PLAIN = (
    _verify_keywords,
    _verify_keyword_frequency,
    _validate_forbidden_words,
    _verify_letter_frequency,
    _validate_response_language,
    _verify_paragraph_count,
    _validate_word_constraint,
    _validate_paragraphs,
    _verify_postscript,
    _validate_placeholders,
    _verify_bullet_points,
    _validate_title,
    _validate_choice,
    _validate_highlighted_sections,
    _validate_sections,
    _validate_json_format,
    _validate_repeat_prompt,
    _validate_two_responses,
    _validate_uppercase,
    _validate_lowercase,
    _validate_end,
    _validate_quotation,
    _validate_no_commas,
)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__.removeprefix("_"): function for function in _PLAIN},
    "verify_sentence_constraint": _sentences(r"\.|\?|!"),
    "validate_frequency_capital_words": _capital_words(_tenth),
}
FUNCTIONS_2024 = FUNCTIONS | {
    "verify_sentence_constraint": _sentences(r"\.|\?"),
    "validate_frequency_capital_words": _capital_words(lambda _: 0),
    "validate_placeholders": _validate_placeholders_2024,
    "validate_choice": _validate_choice_2024,
}
