"""The program of `Clocked`: reads arguments from stdin, a line each, and writes what it makes.

    python -m tulu_cli.verify.child SECONDS TASK [ARGUMENT]

A task is made once, from the argument; its libraries are loaded before its clock starts, which
gives each line so many seconds of computing.
"""

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from tulu_cli.errors import BadInput

_WAITING_SECONDS = 60.0  # for what waits and does not compute
_MEMORY_BYTES = 4 * 2**30

Work = Callable[..., Any]


def same_expression() -> Work:
    """Return the comparison of two LaTeX expressions: their difference simplifies to 0."""
    import sympy
    from sympy.parsing.latex import parse_latex

    parse_latex("1")  # loads the grammar; raises ImportError without antlr4

    def work(one: str, other: str) -> bool:
        try:
            return bool(sympy.simplify(parse_latex(one) - parse_latex(other)) == 0)
        except Exception:  # noqa: BLE001  as there: what sympy cannot compare is not equal
            return False

    return work


def math_verify() -> Work:
    """Return the comparison of math-verify, in its order: the label, then the answer."""
    import logging

    from math_verify import parse, verify

    logging.disable()  # of its timeouts, which are off: they are signals, and the clock is ours

    def work(label: str, text: str) -> list[Any]:
        gold = parse(f"${label}$", parsing_timeout=None)
        found = parse(text, parsing_timeout=None)
        return [bool(verify(gold, found, timeout_seconds=None)), str(found[-1]) if found else None]

    return work


def regex(pattern: str) -> Work:
    """Return the search for the last match of a pattern, and its first group, if it has one."""
    compiled = re.compile(pattern)

    def work(text: str) -> str | None:
        last = None
        for last in compiled.finditer(text):  # noqa: B007
            pass
        return None if last is None else last[1 if compiled.groups else 0] or ""

    return work


def json_schema(source: str) -> Work:
    """Return the check of a text against a JSON schema: what is wrong, or None."""
    import jsonschema
    import referencing

    schema = json.loads(source)
    kind = jsonschema.validators.validator_for(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise BadInput(f"this is not a JSON schema: {error.message}.") from error
    # An empty registry of our own: jsonschema's fetches the $refs that it does not know.
    validator = kind(schema, registry=referencing.Registry())

    def work(text: str) -> str | None:
        try:
            error = jsonschema.exceptions.best_match(validator.iter_errors(json.loads(text)))
        except ValueError as refusal:
            return f"it is not JSON: {refusal}"
        except referencing.exceptions.Unresolvable as refusal:
            raise BadInput(f"the schema lacks {refusal.ref!r}, to which it refers.") from None
        return None if error is None else str(error.message)

    return work


def python(path: str) -> Work:
    """Return the function `verify(text, label)` of a Python file: True, False or a score."""
    spec = spec_from_file_location("tulu_verify_rule", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput(f"{path!r} cannot be loaded: {type(error).__name__}: {error}.") from error
    if not callable(getattr(module, "verify", None)):
        raise BadInput(f"{path!r} has no function verify(text, label).")

    def work(text: str, label: Any) -> float:
        try:
            score = module.verify(text, label)
        except Exception as error:
            raise BadInput(f"its verify raised {type(error).__name__}: {error}") from error
        if not isinstance(score, (bool, int, float)) or not 0 <= score <= 1:
            raise BadInput(f"its verify returned {score!r}, and not True, False or 0 to 1.")
        return float(score)

    return work


def rule(name: str) -> Work:
    """Return a whole rule, for an answer that is so long that its patterns may take for ever."""
    from dataclasses import astuple

    from tulu_cli.verify.rules import named

    chosen = named(name)
    return lambda text, label: astuple(chosen.verify(text, label))


TASKS: dict[str, Callable[..., Work]] = {
    "same-expression": same_expression,
    "math-verify": math_verify,
    "regex": regex,
    "json-schema": json_schema,
    "python": python,
    "rule": rule,
}


def main(seconds: str, task: str, *argument: str) -> None:
    """Do a task for each line of stdin, until it ends."""
    for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if task != "python":  # which may load what it likes
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a task prints is no answer
    work = _made(TASKS[task], argument)
    for line in sys.stdin.buffer:
        arguments = json.loads(line)
        out.write(json.dumps(_told(work, arguments, float(seconds))).encode() + b"\n")
        out.flush()


def _made(make: Callable[..., Work], argument: Sequence[str]) -> Work | dict[str, str]:
    """Return the work, or what is to be answered instead of doing it."""
    try:
        return make(*argument)
    except BadInput as error:
        return {"problem": str(error)}
    except ImportError as error:
        return {"missing": (error.name or "antlr4").partition(".")[0]}


def _told(
    work: Work | dict[str, str], arguments: list[Any] | None, seconds: float
) -> dict[str, Any]:
    if isinstance(work, dict):
        return work
    if arguments is None:
        return {"value": None}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, _WAITING_SECONDS)
    try:
        return {"value": work(*arguments)}
    except BadInput as error:
        return {"problem": str(error)}
    except MemoryError:
        return {"problem": "it needs too much memory."}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
