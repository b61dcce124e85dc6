"""The instructions of IFEval, and those that open-instruct trains on beside them, by their names.

Source: Zhou et al. (2023) and open-instruct, `IFEvalG/instructions.py`, at e6c3044 (2026-08-20).
The arguments have the names of the labels. What is odd there is odd here: a keyword is a regular
expression, and a text whose language cannot be told is in every language.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from tulu_cli.verify.ifeval.language import language_of, punkt_sentences, sentences_of, words_of

Check = Callable[..., bool]
INSTRUCTIONS: dict[str, Check] = {}


def _instruction(*names: str) -> Callable[[Check], Check]:
    def put(check: Check) -> Check:
        INSTRUCTIONS.update(dict.fromkeys(names, check))
        return check

    return put


def _compared(count: int, relation: str, wanted: float) -> bool:
    """Return whether a count is `less than` or `at least` the wanted one. Raise ValueError."""
    if relation not in ("less than", "at least"):
        raise ValueError(f"{relation!r} is not less than or at least")
    if wanted < 0:
        raise ValueError(f"{wanted} is negative")
    return count < wanted if relation == "less than" else count >= wanted


def _found(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text, re.IGNORECASE))


@_instruction("keywords:existence")
def _existence(text: str, keywords: Sequence[str]) -> bool:
    if not keywords:
        raise ValueError("there are no keywords")
    return all(re.search(keyword, text, re.IGNORECASE) for keyword in keywords)


@_instruction("keywords:frequency", "keywords:word_count_different_numbers")
def _frequency(text: str, keyword: str, frequency: float, relation: str) -> bool:
    return _compared(_found(keyword.strip(), text), relation, frequency)


@_instruction("keywords:forbidden_words")
def _forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(_found(rf"\b{word}\b", text) for word in forbidden_words)


@_instruction("keywords:letter_frequency", "letters:letter_counting2")
def _letter_frequency(text: str, letter: str, let_frequency: float, let_relation: str) -> bool:
    if not re.fullmatch("[A-Za-z]", letter):
        raise ValueError(f"{letter!r} is not a letter")
    return _compared(text.lower().count(letter.lower()), let_relation, let_frequency)


@_instruction("language:response_language")
def _response_language(text: str, language: str) -> bool:
    return language_of(text) in (language, None)


@_instruction("length_constraints:number_sentences")
def _number_sentences(text: str, num_sentences: float, relation: str) -> bool:
    return _compared(len(punkt_sentences(text)), relation, num_sentences)


def _parts(text: str, divider: str) -> list[str]:
    """Return the parts of a text, without an empty one at either end; none if one is empty."""
    parts = re.split(divider, text)
    inner = [part for at, part in enumerate(parts) if part.strip() or 0 < at < len(parts) - 1]
    return inner if all(part.strip() for part in inner) else []


_STARS = r"\s?\*\*\*\s?"


@_instruction("length_constraints:number_paragraphs")
def _number_paragraphs(text: str, num_paragraphs: float) -> bool:
    return len(_parts(text, _STARS)) == num_paragraphs


@_instruction("length_constraints:number_words")
def _number_words(text: str, num_words: float, relation: str) -> bool:
    return _compared(len(re.findall(r"\w+", text)), relation, num_words)


@_instruction("length_constraints:nth_paragraph_first_word")
def _nth_paragraph(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    if not 0 < nth_paragraph <= num_paragraphs:
        raise ValueError(f"there is no paragraph {nth_paragraph} of {num_paragraphs}")
    paragraphs = text.split("\n\n")
    count = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    nth = paragraphs[nth_paragraph - 1].strip() if nth_paragraph <= count else ""
    if not nth or count != num_paragraphs:
        return False
    word = re.split(r"[.,?!'\"]", nth.split()[0].lstrip("'").lstrip('"'), maxsplit=1)[0]
    return word.lower() == first_word.lower()


@_instruction("detectable_content:number_placeholders")
def _number_placeholders(text: str, num_placeholders: float) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


@_instruction("detectable_content:postscript")
def _postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, marker.lower()), text.lower()) is not None


@_instruction("detectable_format:number_bullet_lists")
def _number_bullet_lists(text: str, num_bullets: float) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    hyphens = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(hyphens) == num_bullets


@_instruction("detectable_format:constrained_response")
def _constrained_response(text: str) -> bool:
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


@_instruction("detectable_format:number_highlighted_sections")
def _number_highlighted_sections(text: str, num_highlights: float) -> bool:
    single = [found.strip("*") for found in re.findall(r"\*[^\n\*]*\*", text)]
    double = [found[2:-2] for found in re.findall(r"\*\*[^\n\*]*\*\*", text)]
    return sum(bool(found.strip()) for found in single + double) >= num_highlights


@_instruction("detectable_format:multiple_sections")
def _multiple_sections(text: str, section_spliter: str, num_sections: float) -> bool:
    return len(re.split(rf"\s?{section_spliter.strip()}\s?\d+\s?", text)) - 1 >= num_sections


@_instruction("detectable_format:json_format")
def _json_format(text: str) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@_instruction("detectable_format:title")
def _title(text: str) -> bool:
    titles = re.findall(r"<<[^\n]+>>", text)
    return any(title.lstrip("<").rstrip(">").strip() for title in titles)


@_instruction("combination:two_responses")
def _two_responses(text: str) -> bool:
    parts = _parts(text, re.escape("******"))
    return len(parts) == 2 and parts[0].strip() != parts[1].strip()


@_instruction("combination:repeat_prompt")
def _repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(_asked(prompt_to_repeat))


@_instruction("copy:copy", "copy:copying_simple")
def _copy(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower() == _asked(prompt_to_repeat)


@_instruction("copy:copying_multiple")
def _copying_multiple(text: str, prompt_to_repeat: str, N: float) -> bool:  # noqa: N803
    copies = text.split("******")
    asked = _asked(prompt_to_repeat)
    return len(copies) == N and all(copy.strip().lower() == asked for copy in copies)


@_instruction("new:copy_span_idx")
def _copy_span(text: str, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    return text.strip().lower() == prompt_to_repeat[n_start:n_end].strip().lower()


def _asked(prompt: str) -> str:
    if not prompt:
        raise ValueError("there is no prompt to repeat")
    return prompt.strip().lower()


@_instruction("copy:repeat_phrase")
def _repeat_phrase(text: str, phrase: str, small_n: float) -> bool:
    wanted = phrase.split()
    if not wanted:
        raise ValueError("there is no phrase")
    found = [part.split() for part in re.findall(rf"{wanted[0]} .*? {wanted[-1]}", text)]
    return len(found) == small_n and all(
        len(words) == len(wanted) and sum(map(str.__ne__, words, wanted)) == 1 for words in found
    )


@_instruction("startend:end_checker")
def _end_checker(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


@_instruction("startend:quotation")
def _quotation(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


@_instruction("change_case:capital_word_frequency")
def _capital_words(text: str, capital_frequency: float, capital_relation: str) -> bool:
    count = sum(word.isupper() for word in words_of(text))
    return _compared(count, capital_relation, capital_frequency)


@_instruction("change_case:english_capital")
def _english_capital(text: str) -> bool:
    return text.isupper() and language_of(text) in ("en", None)


@_instruction("change_case:english_lowercase")
def _english_lowercase(text: str) -> bool:
    return text.islower() and language_of(text) in ("en", None)


@_instruction("punctuation:no_comma")
def _no_comma(text: str) -> bool:
    return "," not in text


@_instruction("punctuation:punctuation_dot")
def _no_dot(text: str) -> bool:
    return "." not in text


@_instruction("punctuation:punctuation_exclamation")
def _no_exclamation(text: str) -> bool:
    return "!" not in text


@_instruction("detectable_format:sentence_hyphens")
def _sentence_hyphens(text: str) -> bool:
    # As many are compared as there are of the fewer.
    pairs = zip(text.split("-"), sentences_of(text.replace("-", " ")), strict=False)
    return all(part == part.strip() == sentence for part, sentence in pairs)


@_instruction("keywords:no_adjacent_consecutive")
def _no_adjacent_consecutive(text: str) -> bool:
    letters = [word[0].lower() for word in text.split()]
    return all(len(a) == len(b) == 1 and ord(b) - ord(a) != 1 for a, b in pairwise(letters))


@_instruction("detectable_format:square_brackets")
def _square_brackets(text: str) -> bool:
    return all(word[0] == "[" and word[-1] == "]" for word in text.split())


@_instruction("keywords:word_once")
def _word_once(text: str, keyword: str) -> bool:
    return _found(keyword.strip(), text) == 1


@_instruction("keywords:exclude_word_harder")
def _exclude_word(text: str, keyword: str) -> bool:
    return f" {keyword.strip()} " not in text


@_instruction("paragraphs:paragraphs")
def _two_paragraphs(text: str) -> bool:
    return len(_parts(text, _STARS)) == 2


@_instruction("paragraphs:paragraphs2")
def _two_paragraphs_by_lines(text: str) -> bool:
    return len(_parts(text, r"\n\n")) == 2


@_instruction("first_word:first_word_sent")
def _first_words(text: str, first_word: str) -> bool:
    sentences = sentences_of(text)
    return all(part and _is_word(part.split()[0], first_word) for part in sentences)


@_instruction("first_word:first_word_answer")
def _first_word(text: str, first_word: str) -> bool:
    words = text.split()
    return bool(words) and _is_word(words[0], first_word)


@_instruction("last_word:last_word_sent")
def _last_words(text: str, last_word: str) -> bool:
    sentences = sentences_of(text)
    return all(part and _is_word(_bare(part.split()[-1]), last_word) for part in sentences)


@_instruction("last_word:last_word_answer")
def _last_word(text: str, last_word: str) -> bool:
    words = text.split()
    return bool(words) and _is_word(_bare(words[-1]), last_word)


def _bare(word: str) -> str:
    return re.sub(r"[^\w\s]", "", word)


def _is_word(word: str, wanted: str) -> bool:
    return word.lower() == wanted.strip().lower()


@_instruction("detectable_format:bigram_wrapping")
def _bigram_wrapping(text: str) -> bool:
    words = text.split()
    pairs = zip(words[::2], words[1::2], strict=False)
    return all(one.startswith("<<") and other.endswith(">>") for one, other in pairs)


@_instruction("count:lowercase_counting")
def _lowercase_counting(text: str, N: float) -> bool:  # noqa: N803
    return len(re.findall(r"\b[a-z]+\b", text)) <= N


@_instruction("letters:letter_counting")
def _letter_counting(text: str, N: float, relation: str) -> bool:  # noqa: N803
    return _compared(len(re.findall("[a-zA-Z]", text)), relation, N)


@_instruction("count:counting_composition")
def _counting_composition(text: str, n_sent: float, n_words: float) -> bool:
    # Unlike elsewhere an empty part at an end is counted too: it has no sentence.
    parts = re.split(_STARS, text)
    return len(parts) == 3 and all(
        len(sentences := sentences_of(part)) == n_sent
        and all(len(words_of(sentence)) == n_words for sentence in sentences)
        for part in parts
    )


@_instruction("count:count_unique")
def _count_unique(text: str) -> bool:
    return all(count == 1 for count in Counter(words_of(text)).values())


@_instruction("count:count_increment_word")
def _count_increment(text: str, keyword1: str, keyword2: str) -> bool:
    return _found(keyword1.strip(), text) == 1 and _found(keyword2.strip(), text) == 2


@_instruction("keywords:palindrome")
def _palindrome(text: str) -> bool:
    return any(word == word[::-1] for word in text.split())


@_instruction("keywords:keyword_specific_position")
def _specific_position(text: str, keyword: str, n: int, m: int) -> bool:
    if n < 1 or m < 1:
        raise ValueError("sentences and words are counted from 1")
    sentences = sentences_of(text)
    words = words_of(sentences[n - 1]) if n <= len(sentences) else []
    return m <= len(words) and words[m - 1] == keyword.strip()


@_instruction("keywords:start_end")
def _start_end(text: str) -> bool:
    words = words_of(text)
    return len(words) > 1 and words[0].lower() == words[-1].lower()
