"""Structured answers: what may be asked for, and what an answer must be."""

import json
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tulu_cli.core import Completion, Constraint, Done, FinishReason, Timings, Usage
from tulu_cli.engines import guidance
from tulu_cli.errors import (
    BadInput,
    ConstraintNotMet,
    NoEngine,
    StoppedByLength,
    UsageError,
)
from tulu_cli.request.constraint import check, read_constraint

AGE = '{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}'


def completion(text: str, reason: FinishReason = "stop") -> Completion:
    return Completion(text, (1, 2, 3, 4, 5), (), Done(reason, Usage(3, 5), Timings(0, 0, 0), 0))


def test_nothing_asked_is_no_constraint() -> None:
    assert read_constraint(None, None, ()) is None


def test_a_schema_is_json_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "age.json"
    file.write_text(AGE)
    expected = Constraint("json_schema", AGE)
    assert read_constraint(AGE, None, ()) == read_constraint(str(file), None, ()) == expected


def test_choices_and_a_regex() -> None:
    choices = read_constraint(None, None, ("yes", "né"))
    assert choices == Constraint("choice", '["yes", "né"]')
    assert read_constraint(None, "a|b", ()) == Constraint("regex", "a|b")


@pytest.mark.parametrize(
    ("schema", "regex", "choices"),
    [("{}", "a", ()), ("{}", None, ("a", "b")), (None, "a", ("a", "b")), ("", "", ())],
)
def test_only_one_of_them(schema: str | None, regex: str | None, choices: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cannot be combined"):
        read_constraint(schema, regex, choices)


def test_one_choice_is_none() -> None:
    with pytest.raises(UsageError, match="two answers or more"):
        read_constraint(None, None, ("yes",))


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ('{"type":\n "strin', r"not JSON \(line 2, column 2\)"),
        ('{"type": "strin"}', "not a JSON schema: 'strin' is not valid"),
        ('{"pattern": "("}', "not a JSON schema"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("", r"--schema '' cannot be read: Is a directory"),
        ("no/such.json", r"'no/such\.json' cannot be read: No such file or directory"),
    ],
)
def test_a_bad_schema_is_bad_input(schema: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        read_constraint(schema, None, ())


def test_a_base_install_says_what_a_schema_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(NoEngine, match="pip install"):
        read_constraint("{}", None, ())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"[]", "an object is needed"), (b"true", "an object is needed"), (b"{\xff", "byte 1")],
)
def test_a_bad_schema_file_is_bad_input(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "schema.json"
    file.write_bytes(content)
    with pytest.raises(BadInput, match=complaint):
        read_constraint(str(file), None, ())


@pytest.mark.parametrize("regex", ["(", "a{99999999999999999999}", "(?P<x", "[z-a]"])
def test_a_bad_regex_is_bad_input(regex: str) -> None:
    with pytest.raises(BadInput, match="--regex is not a regular expression"):
        read_constraint(None, regex, ())


GOOD = [
    (Constraint("json_schema", AGE), ' {"age": 3}\n'),
    (Constraint("json_schema", '{"oneOf": [{"type": "integer"}, {"type": "number"}]}'), "3.5"),
    (Constraint("regex", "a+"), "aa"),
    (Constraint("choice", '["yes", "no"]'), "no"),
    (Constraint("json_schema", '{"$ref": "#/$defs/x", "$defs": {"x": {"type": "null"}}}'), "null"),
]
ONE_OF = '{"oneOf": [{"type": "integer"}, {"type": "number"}]}'
BAD = [
    (Constraint("json_schema", ONE_OF), "3", "3 is valid under each of"),
    (Constraint("json_schema", AGE), '{"age": "3"}', "json schema: '3' is not of type 'integer'"),
    (Constraint("json_schema", AGE), '{"age":\n', r"not JSON .* line 2, column 1"),
    (Constraint("json_schema", AGE), "[" * 100_000, "nested too deeply"),
    (Constraint("json_schema", '{"$ref": "#/nope"}'), "1", "refers to '/nope'"),
    (Constraint("regex", "a+"), "aab", "does not match as a whole"),
    (Constraint("regex", "a+"), "aa\n", "does not match as a whole"),
    (Constraint("choice", '["yes", "no"]'), "yes ", "none of the choices"),
]


@pytest.mark.parametrize(("constraint", "text"), GOOD)
def test_an_answer_that_is_right(constraint: Constraint, text: str) -> None:
    check(constraint, completion(text))
    check(constraint, completion(text, "length"))


@pytest.mark.parametrize(("constraint", "text", "complaint"), BAD)
def test_an_answer_that_is_wrong(constraint: Constraint, text: str, complaint: str) -> None:
    with pytest.raises(ConstraintNotMet, match=complaint):
        check(constraint, completion(text))


@pytest.mark.parametrize(("constraint", "text", "_complaint"), BAD)
def test_an_answer_that_was_cut(constraint: Constraint, text: str, _complaint: str) -> None:
    with pytest.raises(StoppedByLength, match="cut at 5 tokens"):
        check(constraint, completion(text, "length"))


def test_a_schema_never_reaches_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: tried.append(arguments))
    schema = json.dumps({"$ref": "http://example.com/schema.json"})
    with pytest.raises(ConstraintNotMet, match=r"refers to 'http://example\.com/schema\.json'"):
        check(Constraint("json_schema", schema), completion("1"))
    assert tried == []


# Each of them takes Python's `re` longer than anybody waits.
SLOW_REGEXES = [
    (r"([A-Za-z]+ ?)+\.", "The answer to this question is that the sky is blue because of"),
    (r"(a+)+b", "a" * 60),
    (r"^(a|aa)+$", "a" * 60 + "!"),
    (r"(\p{L}+)+\.", "é" * 60),
]


@pytest.mark.parametrize(("regex", "text"), SLOW_REGEXES)
def test_a_regex_that_backtracks_is_matched_by_the_grammar(regex: str, text: str) -> None:
    constraint = Constraint("regex", regex)
    with pytest.raises(ConstraintNotMet, match="does not match as a whole"):
        check(constraint, completion(text))
    with pytest.raises(StoppedByLength, match="cut at 5 tokens"):
        check(constraint, completion(text, "length"))


def test_an_answer_that_matches_in_the_end_is_right() -> None:
    check(Constraint("regex", r"(a+)+b"), completion("a" * 5000 + "b"))
    check(Constraint("regex", r"^(a|aa)+$"), completion("a" * 5000, "length"))


SLOW = "^(a+)+$"
SLOW_SCHEMAS = [
    ({"type": "string", "pattern": SLOW}, '"%s"'),
    ({"type": "object", "patternProperties": {SLOW: {"type": "null"}}}, '{"%s": 1}'),
    ({"patternProperties": {SLOW: {}}, "additionalProperties": {"type": "null"}}, '{"%s": 1}'),
    ({"patternProperties": {SLOW: {}}, "unevaluatedProperties": False}, '{"%s": 1}'),
    ({"propertyNames": {"pattern": SLOW}}, '{"%s": 1}'),
    ({"type": "array", "items": {"oneOf": [{"pattern": SLOW}, {"type": "null"}]}}, '["%s"]'),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string", "pattern": SLOW}}}, '"%s"'),
]


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tulu_cli.request.constraint._LIMIT_SECONDS", 0.0)
    monkeypatch.setattr("tulu_cli.request.constraint._TICK_SECONDS", 0.01)


@pytest.mark.usefixtures("haste")
@pytest.mark.parametrize(("schema", "text"), SLOW_SCHEMAS)
def test_a_pattern_in_a_schema_never_hangs(schema: object, text: str) -> None:
    constraint = Constraint("json_schema", json.dumps(schema))
    answer = text % ("a" * 60 + "!")
    with suppress(ConstraintNotMet):
        check(constraint, completion(answer))
    with pytest.raises(StoppedByLength, match="cut at 5 tokens"):
        check(constraint, completion(answer[:-1], "length"))


@pytest.mark.usefixtures("haste")
def test_an_answer_that_only_the_grammar_can_match_is_right() -> None:
    two = [{"pattern": "^(a+)+$"}, {"pattern": "^a+!$"}]
    answer = json.dumps("a" * 60 + "!")
    check(
        Constraint("json_schema", json.dumps({"type": "string", "anyOf": two})), completion(answer)
    )
    with pytest.raises(ConstraintNotMet, match="to match its patterns takes too long"):
        check(Constraint("json_schema", json.dumps({"oneOf": two})), completion(answer))


@pytest.mark.usefixtures("haste")
def test_a_check_without_a_grammar_ends_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    guidance._made.cache_clear()
    before = signal.getsignal(signal.SIGPROF)
    for constraint, text in (
        (Constraint("regex", "(a+)+b"), "a" * 60),
        (Constraint("json_schema", json.dumps({"pattern": SLOW})), '"' + "a" * 60 + '!"'),
    ):
        with pytest.raises(ConstraintNotMet, match="to match its patterns takes too long"):
            check(constraint, completion(text))
        with pytest.raises(StoppedByLength):
            check(constraint, completion(text, "length"))
    check(Constraint("regex", "a+b"), completion("a" * 60 + "b"))
    assert signal.getsignal(signal.SIGPROF) is before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
