"""The rules that a user makes: a pattern, a letter of choices, a JSON schema, a Python function."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tulu_cli.disk import parse_json, read_text
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.verify.clocked import TookTooLong, clocked
from tulu_cli.verify.verdict import Verdict, quoted, text_label, without_thought

Verify = Callable[[str, object], Verdict]


def regex(pattern: str) -> Verify:
    """Return the rule of a pattern: it is found; or its first group's last match is the label.

    Raise UsageError for a pattern that is not one.
    """
    try:
        has_group = re.compile(pattern).groups > 0
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--rule regex:{pattern} is not a regular expression: {error}.") from error

    def verify(text: str, label: object) -> Verdict:
        gold = text_label(label) if has_group else None
        found = _asked("regex", pattern, text)
        if found is None:
            return Verdict.wrong(None, "the pattern is not found")
        if gold is None:
            return Verdict.right(found, "the pattern is found")
        words = "is" if found == gold else "is not"
        return Verdict.of(found == gold, found, f"{quoted(found)} {words} the label {quoted(gold)}")

    return verify


# What says more of an answer stands first; the last match of the first that has one counts.
_CHOICES = (
    re.compile(r"answer\s*(?:is|:)\s*\(?\**([A-Z])\b", re.IGNORECASE),
    re.compile(r"\\boxed\{\s*(?:\\text\{)?\(?([A-Z])\)?\}"),
    re.compile(r"\(([A-Z])\)"),
    re.compile(r"\b([B-HJ-Z]|A(?!\s+[a-z])|I(?!\s+[a-z']))\b"),  # not the words A and I
)


def choice(text: str, label: object) -> Verdict:
    """Compare the letter that an answer chooses with the label: `(C)`, `C` and `c` are one."""
    gold = text_label(label).strip().strip("().").upper()
    if not re.fullmatch("[A-Z]", gold):
        raise BadInput(f"the label {quoted(text_label(label))} is not a letter, as choice needs.")
    text = without_thought(text)
    for pattern in _CHOICES:
        if found := pattern.findall(text):
            letter = found[-1].upper()
            words = "is" if letter == gold else "is not"
            return Verdict.of(letter == gold, letter, f"{letter} {words} the label {gold}")
    return Verdict.wrong(None, "the answer chooses no letter")


_FENCED = re.compile(r"```(?:json)?\s*\n(.*)```", re.DOTALL | re.IGNORECASE)


def json_schema(name: str) -> Verify:
    """Return the rule that an answer is JSON, maybe in a Markdown fence, and valid under a schema.

    Raise BadInput for a file that does not hold a schema, TuluError without jsonschema.
    """
    source = read_text(Path(name))
    if source is None:
        raise BadInput(f"There is no file {name!r}.")
    if not isinstance(parse_json(source, name), dict):
        raise BadInput(f"{name!r} is not a JSON schema: an object is needed.")
    clocked("json-schema", source).check()  # says now what is wrong with the schema

    def verify(text: str, label: object) -> Verdict:  # noqa: ARG001
        text = without_thought(text)
        fenced = _FENCED.fullmatch(text)
        document = fenced[1] if fenced else text
        problem = _asked("json-schema", source, document)
        why = "it is valid under the schema" if problem is None else str(problem)
        return Verdict.of(problem is None, document if problem is None else None, why)

    return verify


def python(name: str) -> Verify:
    """Return the rule of a file's `verify(text, label)`, which returns True, False or 0 to 1.

    It runs in a process of its own, which a clock ends. Raise BadInput if the file is not there.
    """
    path = Path(name)
    if not path.is_file():
        raise BadInput(f"There is no file {name!r}.")
    source = str(path.absolute())
    clocked("python", source).check()  # says now what is wrong with the file

    def verify(text: str, label: object) -> Verdict:
        score = _asked("python", source, text, label)
        return Verdict(score == 1, score, None, f"its score by {path.name} is {score:g}")

    return verify


def _asked(task: str, argument: str, *arguments: Any) -> Any:
    """Return what a child makes of an answer. Raise BadInput if that takes too long."""
    try:
        return clocked(task, argument).ask(*arguments)
    except TookTooLong as error:
        raise BadInput(f"to verify it by {task} takes too long.") from error
