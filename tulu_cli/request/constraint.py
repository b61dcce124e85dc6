"""The structure that an answer must have: read from the command line, and checked at the end."""

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tulu_cli.core import Completion, Constraint
from tulu_cli.engines import guidance
from tulu_cli.errors import (
    BadInput,
    ConstraintNotMet,
    NoEngine,
    StoppedByLength,
    UsageError,
)
from tulu_cli.machine import install
from tulu_cli.request.pattern import PythonSchema, UnknownClassError, for_python
from tulu_cli.text import plural


def read_constraint(
    schema: str | None, regex: str | None, choices: tuple[str, ...]
) -> Constraint | None:
    """Return the constraint that was asked for, if any.

    `schema` is JSON if it begins with a brace, else the name of a file. Raise UsageError for more
    than one constraint, BadInput for a broken one.
    """
    if (schema is not None) + (regex is not None) + bool(choices) > 1:
        raise UsageError("--schema, --regex and --choice cannot be combined.")
    if schema is not None:
        return Constraint("json_schema", read_schema(schema))
    if regex is not None:
        return Constraint("regex", read_regex(regex))
    if choices:
        if len(choices) == 1:
            raise UsageError("--choice takes two answers or more: repeat it.")
        return Constraint("choice", json.dumps(choices, ensure_ascii=False))
    return None


def read_regex(regex: str) -> str:
    """Return the regular expression, checked as far as `for_python` can. Raise BadInput."""
    try:
        for_python(regex)
    except UnknownClassError:
        return regex
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(f"--regex is not a regular expression: {error}.") from error
    return regex


def read_schema(schema: str) -> str:
    """Return the schema's text, checked to be JSON and a JSON Schema. Raise BadInput."""
    try:
        import jsonschema
    except ImportError as error:
        raise NoEngine(
            f"--schema needs jsonschema, which comes with an engine: {install('transformers')}."
        ) from error

    inline = schema.lstrip().startswith("{")
    try:
        text = schema if inline else Path(schema).read_text(encoding="utf-8")
        document = json.loads(text)
        if not isinstance(document, dict):
            raise BadInput("--schema is not a JSON schema: an object is needed.")
        readable = PythonSchema.of(document).document
        jsonschema.validators.validator_for(document).check_schema(readable)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"--schema is not JSON ({place}): {error.msg}.") from error
    except jsonschema.SchemaError as error:
        raise BadInput(f"--schema is not a JSON schema: {error.message}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"--schema {schema!r} is not UTF-8: byte {error.start} is wrong.") from error
    except OSError as error:
        raise BadInput(f"--schema {schema!r} cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise BadInput("--schema is nested too deeply.") from error
    return text


def check(constraint: Constraint, completion: Completion) -> None:
    """Raise StoppedByLength for an answer that was cut, ConstraintNotMet for one that is wrong."""
    try:
        problem = _problem(constraint, completion.text)
    except RecursionError:
        problem = "it is nested too deeply to be checked"
    except _TooLongError:
        problem = "to match its patterns takes too long"
    if problem is None:
        return
    if completion.done.finish_reason == "length":
        where = place_of_cut([completion])
        what = f"answer was cut{where}, before it was complete"
        if completion.is_thought_alone:
            what = f"thought was cut{where}, before an answer"
        raise StoppedByLength(f"The {what}: raise --max-tokens.")
    kind = constraint.kind.replace("_", " ")
    raise ConstraintNotMet(f"The answer does not satisfy the {kind}: {problem}.")


def place_of_cut(completions: list[Completion]) -> str:
    """` at N tokens`, of the longest; nothing where a server has not told the tokens of each."""
    tokens = max(len(completion.token_ids) for completion in completions)
    return f" at {plural(tokens, 'token')}" if tokens else ""


def _problem(constraint: Constraint, text: str) -> str | None:
    if constraint.kind == "choice":
        return None if text in json.loads(constraint.source) else "it is none of the choices"
    if constraint.kind == "regex":
        return None if _matches(constraint, text) else "it does not match as a whole"
    schema = json.loads(constraint.source)
    readable = PythonSchema.of(schema)
    if not readable.has_patterns:
        return _schema_problem(schema, readable, text)
    try:
        with _limited():
            return _schema_problem(schema, readable, text)
    except _TooLongError:
        if _is_surely_right(constraint, text):
            return None
        raise


def _is_surely_right(constraint: Constraint, text: str) -> bool:
    """Return True for an answer that the grammar of its schema accepts, where that says enough.

    A grammar takes oneOf for anyOf, and an escaped character for several. It has one order of keys,
    so an answer that it does not accept may still be right.
    """
    plain = json.dumps(json.loads(text), ensure_ascii=False)
    is_exact = not re.search('"(oneOf|x-guidance)"', constraint.source) and "\\" not in plain
    return is_exact and guidance.accepts(constraint, plain) is True


def _matches(constraint: Constraint, text: str) -> bool:
    matched = guidance.accepts(constraint, text)
    if matched is not None:
        return matched
    try:
        pattern = for_python(constraint.source)
    except UnknownClassError:
        return True  # the grammar that bound the answer knows the class
    with _limited():
        return re.fullmatch(pattern, text) is not None


class _TooLongError(Exception):
    """The limit of `_limited` has been reached."""


_LIMIT_SECONDS = 0.5  # of computing; an honest pattern takes milliseconds for a whole context
_TICK_SECONDS = 0.05


@contextmanager
def _limited() -> Iterator[None]:
    """Raise _TooLongError in the main thread, which must be the caller, once it computes too long.

    Python's `re` tries some patterns, such as (a+)+b, in exponentially many ways, and sees to
    signals meanwhile. The signal comes as the process computes, and time that others take is not
    counted.
    """
    started = time.thread_time()

    def stop(*_: object) -> None:
        if time.thread_time() - started > _LIMIT_SECONDS:
            raise _TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, _TICK_SECONDS, _TICK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _schema_problem(schema: Any, readable: PythonSchema, text: str) -> str | None:
    import jsonschema
    import referencing

    kind = jsonschema.validators.validator_for(schema)
    # An empty registry of our own: jsonschema's fetches the $refs that it does not know.
    validator = kind(readable.document, registry=referencing.Registry())
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(json.loads(text)))
    except json.JSONDecodeError as refusal:
        return f"it is not JSON ({refusal.msg} at line {refusal.lineno}, column {refusal.colno})"
    except referencing.exceptions.Unresolvable as refusal:
        return f"the schema refers to {refusal.ref!r}, which it does not hold"
    if error is None or readable.unknown:
        return None  # where a class is not known here, the grammar that bound the answer knew it
    return readable.in_own_words(str(error.message))
