"""The rules for instructions that a program can check, by the label's form: one, or several.

In 2024 a label was one function of `functions`; now it is a list of IFEval's `instructions`. Rows
of both kinds are in use, so the rule of now takes either.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from tulu_cli.errors import BadInput
from tulu_cli.text import told
from tulu_cli.verify.ifeval.functions import FUNCTIONS, FUNCTIONS_2024
from tulu_cli.verify.ifeval.instructions import INSTRUCTIONS
from tulu_cli.verify.ifeval.language import language_of, words_of
from tulu_cli.verify.verdict import Era, Verdict, own_words, without_thought


def verify(text: str, label: object, era: Era = "now") -> Verdict:
    """Check an answer against its label. Raise BadInput for a label that names no known check."""
    read = _read(label)
    if isinstance(read, Mapping) and "func_name" in read:
        return _one(text, read, era)
    if era == "2024":
        raise BadInput("the label has no func_name, as the labels of 2024 have.")
    return _several(text, read)


def follows(name: str, text: str, given: Mapping[str, Any]) -> bool:
    """Return whether a text follows one of IFEval's instructions. Raise BadInput for a bad one."""
    return _follows(INSTRUCTIONS, name, text, given)


def check() -> None:
    """Raise TuluError if a library is missing that some instruction needs."""
    language_of("x")
    words_of("x")


def _one(text: str, label: Mapping[str, Any], era: Era) -> Verdict:
    """Check one function of the labels of 2024, by its definition in the era."""
    name = label["func_name"]
    arguments = {key: value for key, value in label.items() if key != "func_name"}
    if era == "2024":
        known, text = FUNCTIONS_2024, own_words(text)
    else:
        known, text = FUNCTIONS, without_thought(text)
    followed = _follows(known, name, text, arguments)
    return Verdict.of(followed, None, f"{name} is {'' if followed else 'not '}satisfied")


def _several(text: str, label: Any) -> Verdict:
    """Check IFEval's instructions; the score is the mean of those that are followed."""
    names = label.get("instruction_id") if isinstance(label, Mapping) else None
    given = label.get("kwargs") if isinstance(label, Mapping) else None
    if not isinstance(names, list) or not isinstance(given, list) or len(names) != len(given):
        raise BadInput("the label must have instruction_id and kwargs, lists of one length.")
    if not names:
        raise BadInput("the label has no instruction.")
    text = without_thought(text)
    results = [
        _follows(INSTRUCTIONS, name, text, kwargs or {})
        for name, kwargs in zip(names, given, strict=True)
    ]
    if not text:
        return Verdict.wrong(None, "the answer is empty")
    failed = [name for name, followed in zip(names, results, strict=True) if not followed]
    why = f"{len(names) - len(failed)} of {len(names)} instructions are followed"
    why += f"; not {', '.join(failed)}" if failed else ""
    return Verdict(not failed, 1 - len(failed) / len(names), None, why)


def _read(label: object) -> Any:
    """Return the value of a label: it may be JSON, or Python's notation, of an object or of a list.

    A list of one, as there is where a row may have several labels, is what it holds.
    """
    while isinstance(label, list) and len(label) == 1:
        label = label[0]
    if not isinstance(label, str):
        return label
    try:
        value = json.loads(label)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(label)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise BadInput(f"the label {told(label)} is not JSON.") from error
    return value if isinstance(value, str) else _read(value)


def _follows(known: Mapping[str, Callable[..., bool]], name: object, text: str, given: Any) -> bool:
    """Return whether a text follows an instruction. Raise BadInput if the label does not fit it."""
    check = known.get(name) if isinstance(name, str) else None
    if check is None:
        raise BadInput(f"the label names {told(name)}, which is not an instruction.")
    try:
        return check(text, **_arguments(check, given))
    except (ValueError, re.error, LookupError, OverflowError) as error:
        raise BadInput(f"the label of {name} does not fit it: {error}.") from error


def _arguments(check: Callable[..., bool], given: Any) -> dict[str, Any]:
    """Return the arguments of a check, those that are null aside.

    Raise ValueError for one that is missing, where open-instruct draws one at random; for one that
    the check does not take; and for one of another type, which it would compare with in vain.
    """
    if not isinstance(given, Mapping):
        raise ValueError("its arguments are not an object")  # noqa: TRY004
    wanted = {key: value.annotation for key, value in signature(check).parameters.items()}
    del wanted["text"]
    arguments = {key: value for key, value in given.items() if value is not None}
    for key in [*wanted, *arguments]:
        if key not in arguments:
            raise ValueError(f"it lacks {key}")
        if key not in wanted:
            raise ValueError(f"it has {key}, which means nothing there")
        value = arguments[key]
        if wanted[key] is str and isinstance(value, list) and len(value) == 1:
            arguments[key] = value = value[0]
        if not _TYPES[wanted[key]](value):
            raise ValueError(f"{key} is {told(value)}")
    return arguments


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: Mapping[Any, Callable[[object], bool]] = {
    str: lambda value: isinstance(value, str),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: _is_number,
    Sequence[str]: lambda value: (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ),
}
