"""The rules that a user makes, over stored answers: choices, patterns, schemas and functions."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tulu_cli.errors import BadInput, TuluError, UsageError
from tulu_cli.verify import clocked, own
from tulu_cli.verify.rules import Chooser, named, verify

# An answer, the label, and whether it is that letter.
CHOICES = [
    ("Therefore, the answer is (B)", "B", True),
    ("Therefore, the answer is (B)", "A", False),
    ("The answer is (A). No: the answer is (B).", "B", True),
    ("The answer is (A). No: the answer is (B).", "A", False),
    ("the answer is B.", "B", True),
    ("The answer is **C**", "C", True),
    ("The answer is **(C)**", "C", True),
    ("Answer: D", "D", True),
    ("ANSWER: d", "D", True),
    ("Answer:(D)", "D", True),
    (r"so \boxed{B}", "B", True),
    (r"so \boxed{(B)}", "B", True),
    (r"so \boxed{\text{B}}", "B", True),
    ("(A) is wrong, (C) is right", "C", True),
    ("(A) is wrong, (C) is right", "A", False),
    ("B", "B", True),
    ("B.", "(b)", True),
    ("C) because", "C", True),
    ("It must be E", "e", True),
    ("A", "A", True),
    ("A dog and I saw it", "A", False),
    ("I think it is B", "B", True),
    ("<think>the answer is (A)</think>the answer is (B)", "B", True),
    ("<think>the answer is (A)</think>it", "A", False),
    ("the answer is 4", "D", False),
    ("", "A", False),
    ("the answer is (B) and not (C)", "B", True),
    ("(B)\nBecause C is not", "B", True),
]
# A pattern, an answer, the label, whether it is verified, and what is extracted.
PATTERNS = [
    ("yes", "oh yes", None, True, "yes"),
    ("yes", "oh no", None, False, None),
    ("^yes$", "yes", None, True, "yes"),
    ("^yes$", "yes\nno", None, False, None),
    ("(?m)^yes$", "no\nyes", None, True, "yes"),
    ("(?i)yes", "YES", None, True, "YES"),
    (r"\d+", "1 2 3", None, True, "3"),
    (r"answer: (\d+)", "answer: 4", "4", True, "4"),
    (r"answer: (\d+)", "answer: 4", 4, True, "4"),
    (r"answer: (\d+)", "answer: 4", "5", False, "4"),
    (r"answer: (\d+)", "answer: 4, answer: 5", "5", True, "5"),
    (r"answer: (\d+)", "answer: 4, answer: 5", "4", False, "5"),
    (r"answer: (\d+)", "none", "4", False, None),
    (r"answer: (?:\d+)", "answer: 4", None, True, "answer: 4"),
    (r"<a>(.*?)</a>", "<a>x</a><a>y</a>", "y", True, "y"),
    (r"<a>(.*)</a>", "<a>x</a><a>y</a>", "x</a><a>y", True, "x</a><a>y"),
    (r"(a)|b", "b", "a", False, ""),
    (r"(a)(b)", "ab", "a", True, "a"),
    (r"(?s)(.*)", "a\nb", "b", False, ""),  # the last match is the empty one
    (r"(?s)\A(.*)\Z", "a\nb", "a\nb", True, "a\nb"),
    ("", "", None, True, ""),
    (".", "", None, False, None),
    ("ü", "für", None, True, "ü"),
    (r"\w+$", "日本", None, True, "日本"),
    ("a:b", "a:b", None, True, "a:b"),
    (r"\.", "a.b", None, True, "."),
]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 1}, "b": {"enum": ["x", "y"]}},
    "required": ["a"],
    "additionalProperties": False,
}
DOCUMENTS = [
    ('{"a": 1}', True),
    ('{"a": 1, "b": "x"}', True),
    ('{"a": 0}', False),
    ('{"a": "1"}', False),
    ('{"a": 1.5}', False),
    ('{"a": 1.0}', True),
    ('{"a": true}', False),
    ('{"a": null}', False),
    ('{"b": "x"}', False),
    ('{"a": 1, "b": "z"}', False),
    ('{"a": 1, "c": 2}', False),
    ("{}", False),
    ("[]", False),
    ("1", False),
    ("null", False),
    ("", False),
    ("a: 1", False),
    ("{'a': 1}", False),
    ('{"a": 1', False),
    ('{"a": 1} ', True),
    ('\n{"a":\n1}\n', True),
    ('```json\n{"a": 1}\n```', True),
    ('```\n{"a": 1}\n```', True),
    ('```json\n{"a": 0}\n```', False),
    ('Here it is: {"a": 1}', False),
    ('<think>{}</think>{"a": 1}', True),
    ('{"a": 1}{"a": 1}', False),
    ('{"a": 1, "a": 2}', True),
]
FUNCTION = """
def verify(text, label):
    print("to stdout")
    if text == "raise":
        raise KeyError("x")
    if text == "loop":
        while True:
            pass
    if label is None:
        return None
    return sum(part in text for part in label) / len(label)
"""
SCORES = [
    *(("a", ["a"], 1.0), ("b", ["a"], 0.0), ("a", ["a", "b"], 0.5), ("ab", ["a", "b"], 1.0)),
    *((text, list("abcd"), len(text) / 4) for text in ("", "a", "ab", "abc", "abcd", "dcba")),
    *((text, ["ü"], float("ü" in text)) for text in ("ü", "für", "u", "", "Ü", "\n", "日本ü")),
    *((text, {"k": 1}, float("k" in text)) for text in ("k", "x", "kk", "")),
    *((text, "ab", float("a" in text) / 2 + float("b" in text) / 2) for text in ("a", "ba", "c")),
    ("a" * 10_000, ["a"], 1.0),
]


@pytest.mark.parametrize(("text", "label", "expected"), CHOICES)
def test_a_choice(text: str, label: str, expected: bool) -> None:
    assert own.choice(text, label).verified is expected


@pytest.mark.parametrize("label", [None, "", "AB", "1", 4, "(A"[:0]])
def test_a_choice_needs_a_letter(label: object) -> None:
    with pytest.raises(BadInput, match="label"):
        own.choice("(A)", label)


@pytest.mark.usefixtures("few_children")
@pytest.mark.parametrize(("pattern", "text", "label", "expected", "extracted"), PATTERNS)
def test_a_pattern(
    pattern: str, text: str, label: object, expected: bool, extracted: str | None
) -> None:
    found = named(f"regex:{pattern}").verify(text, label)
    assert (found.verified, found.extracted) == (expected, extracted)


def test_a_pattern_with_a_group_needs_a_label() -> None:
    with pytest.raises(BadInput, match="label"):
        named("regex:(a)").verify("a", None)
    with pytest.raises(UsageError, match="not a regular expression"):
        named("regex:(a")


@pytest.fixture
def few_children() -> Iterator[None]:
    """Keep a process for each pattern no longer than for its test."""
    yield
    clocked.end_children()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that have little time to compute."""
    clocked.end_children()
    monkeypatch.setattr(clocked, "COMPUTING_SECONDS", 0.5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    (folder / "rule.py").write_text(FUNCTION)
    yield folder
    clocked.end_children()


@pytest.mark.parametrize(("text", "expected"), DOCUMENTS)
def test_a_schema(text: str, expected: bool, files: Path) -> None:
    assert named(f"json-schema:{files / 'schema.json'}").verify(text, None).verified is expected


@pytest.mark.parametrize(("text", "label", "score"), SCORES)
def test_a_function(text: str, label: object, score: float, files: Path) -> None:
    found = named(f"python:{files / 'rule.py'}").verify(text, label)
    assert (found.score, found.verified) == (score, score == 1)


def test_there_are_answers_enough() -> None:
    for answers in (CHOICES, PATTERNS, DOCUMENTS, SCORES):
        assert len(answers) >= 25


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("text", "label", "problem"),
    [("raise", ["a"], "raised KeyError"), ("x", None, "returned None"), ("loop", [], "too long")],
)
def test_a_function_that_fails_fails_alone(
    text: str, label: object, problem: str, files: Path
) -> None:
    rule = named(f"python:{files / 'rule.py'}")
    with pytest.raises(BadInput, match=problem):
        rule.verify(text, label)
    assert rule.verify("a", ["a"]).verified


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("json-schema:x.json", "{", "not valid JSON"),
        ("json-schema:x.json", "[]", "an object is needed"),
        ("json-schema:x.json", '{"type": 7}', "not a JSON schema"),
        ("json-schema:none.json", "", "no file"),
        ("python:x.py", "def f(): pass", "no function verify"),
        ("python:x.py", "def verify(:", "SyntaxError"),
        ("python:x.py", "import nothing_of_this_name", "ModuleNotFoundError"),
        ("python:x.py", "verify = 3", "no function verify"),
        ("python:none.py", "", "no file"),
    ],
)
def test_a_file_that_holds_no_rule_is_refused_at_once(
    name: str, content: str, problem: str, tmp_path: Path
) -> None:
    kind, _, file = name.partition(":")
    if not file.startswith("none"):
        (tmp_path / file).write_text(content)
    with pytest.raises(TuluError, match=problem):
        named(f"{kind}:{tmp_path / file}")


def test_a_schema_that_refers_to_another_place_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"$ref": "http://localhost:9/schema.json"}')
    with pytest.raises(BadInput, match="http://localhost:9"):
        named(f"json-schema:{path}").verify("{}", None)


@pytest.mark.parametrize("name", ["", "gsm", "regex", "2024", "-2024", "choice-2024", "sql:x"])
def test_an_unknown_rule_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="There is no rule"):
        named(name)


def test_the_dataset_names_the_rule() -> None:
    names = {one: Chooser().rule(one).name for one in ("gsm8k", "MATH", "IFEval", "ifeval_old")}
    assert names == {"gsm8k": "gsm8k", "MATH": "math", "IFEval": "ifeval", "ifeval_old": "ifeval"}
    assert Chooser(era="2024").rule(["math"]).name == "math-2024"
    assert Chooser("strict_math").rule("gsm8k").name == "strict_math"
    odd: tuple[object, ...] = (None, "flan", 7, ["a", "b"], {})
    for dataset in odd:
        with pytest.raises(BadInput):
            Chooser().rule(dataset)


def test_the_other_rule() -> None:
    chooser = Chooser()
    assert chooser.other(named("math"), "2024").name == "math-2024"
    assert chooser.other(named("math-2024"), "now").name == "math"
    assert chooser.other(named("math"), "math-verify").name == "math-verify"
    with pytest.raises(UsageError, match="no eras"):
        chooser.other(named("choice"), "2024")
    with pytest.raises(UsageError, match="itself"):
        chooser.other(named("math"), "now")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("rule", ["regex:(a+)+b$", "gsm8k", "math", "ifeval"])
def test_a_hostile_answer_ends(rule: str) -> None:
    hostile = {
        "regex:(a+)+b$": ("a" * 40, "x"),
        "gsm8k": ("1" * 2_000_000 + ".", "7"),
        "math": ("\\text{" * 400_000, "7"),
        "ifeval": ("[" * 400_000, '{"func_name": "validate_placeholders", "N": 1}'),
    }
    text, label = hostile[rule]
    if rule == "gsm8k":
        assert verify(named(rule), text, label).verified is False
    else:
        with pytest.raises(BadInput, match="too long"):
            verify(named(rule), text, label)
