r"""ECMA-262's patterns, and what Python's `re` makes of them once they are translated."""

import json
import re
import sys

import pytest

from tests.request.test_constraint import completion
from tulu_cli.core import Constraint
from tulu_cli.errors import BadInput, ConstraintNotMet
from tulu_cli.request.constraint import check, read_constraint
from tulu_cli.request.pattern import UnknownClassError, for_python


@pytest.mark.parametrize(
    ("pattern", "fits", "fails"),
    [
        (r"\p{L}+", "naïf", "na1f"),
        (r"\pL+", "ß", "1"),
        (r"\P{L}+", "12 ", "1a"),
        (r"[\p{Lu}\d_]+", "Ä_9", "ä"),
        (r"[^\p{L}]+", "12-", "1é"),
        (r"[\P{L}x]+", "x1", "y"),
        (r"\p{Script=Greek}+", "λόγος", "logos"),
        (r"\\p\{L\}|\p{Nd}", r"\p{L}", "L"),
        (r"(?<year>\d{4})-\p{L}", "2024-a", "2024-1"),
        (r"[(?<a>]+\u{1F600}", "(?<a>😀", "x😀"),
        (r"(?<=\p{L})b|ab", "ab", "bb"),
    ],
)
def test_it_matches_as_ecma_262_says(pattern: str, fits: str, fails: str) -> None:
    translated = for_python(pattern)
    assert re.fullmatch(translated, fits)
    assert not re.fullmatch(translated, fails)
    constraint = read_constraint(None, pattern, ())
    assert constraint == Constraint("regex", pattern)
    check(constraint, completion(fits))
    with pytest.raises(ConstraintNotMet):
        check(constraint, completion(fails))


def test_what_python_reads_stays_as_it_is() -> None:
    assert for_python(r"^(?P<a>[]\w]+)$") == r"^(?P<a>[]\w]+)$"


@pytest.mark.parametrize("pattern", [r"(\p{L}", r"[\p{L}", r"\p{L", r"*\p{L}"])
def test_what_is_broken_is_still_refused(pattern: str) -> None:
    with pytest.raises(BadInput, match="--regex is not a regular expression"):
        read_constraint(None, pattern, ())
    with pytest.raises(BadInput, match="is not a 'regex'"):
        read_constraint(json.dumps({"pattern": pattern}), None, ())


WORD = r"^\p{L}+$"
SCHEMAS = [
    ({"type": "string", "pattern": WORD}, "naïf", "n1"),
    ({"patternProperties": {WORD: {"type": "integer"}}}, {"ä": 1}, {"ä": "1"}),
    ({"patternProperties": {WORD: {}}, "additionalProperties": False}, {"ä": 1}, {"1": 1}),
    ({"propertyNames": {"pattern": WORD}}, {"ä": 1}, {"1": 1}),
    ({"properties": {"const": {"pattern": WORD}}}, {"const": "ä"}, {"const": "1"}),
    ({"items": {"anyOf": [{"pattern": WORD}]}}, ["ä"], ["1"]),
    ({"const": {"pattern": WORD}}, {"pattern": WORD}, {"pattern": "x"}),
]


@pytest.mark.parametrize(("schema", "fits", "fails"), SCHEMAS)
def test_the_patterns_of_a_schema(schema: object, fits: object, fails: object) -> None:
    constraint = read_constraint(json.dumps(schema), None, ())
    assert constraint is not None
    assert json.loads(constraint.source) == schema
    check(constraint, completion(json.dumps(fits)))
    with pytest.raises(ConstraintNotMet) as caught:
        check(constraint, completion(json.dumps(fails)))
    assert "U0000" not in str(caught.value)


def test_a_class_that_is_not_known_here_is_left_to_the_grammar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UnknownClassError):
        for_python(r"\p{Nonsense}")
    monkeypatch.setitem(sys.modules, "regex", None)
    constraint = read_constraint(None, r"\p{Lowercase_Letter}+", ())
    assert constraint is not None
    check(constraint, completion("abc"))
    schema = read_constraint(json.dumps({"pattern": r"\p{Lowercase_Letter}"}), None, ())
    assert schema is not None
    check(schema, completion('"a"'))
