"""Structured answers: one grammar library for every engine, so that all accept the same language.

llguidance does the work here, and inside vLLM as its `guidance` backend.
"""

import json
from functools import lru_cache
from typing import Any

from tulu_cli.core import Constraint
from tulu_cli.errors import BadInput, NoEngine
from tulu_cli.machine import install


def grammar(constraint: Constraint) -> str:
    """Return the constraint in llguidance's own form. Raise BadInput if it is not valid."""
    try:
        import llguidance
    except ImportError as error:
        raise NoEngine(
            f"Structured answers need llguidance ({install('transformers')})."
        ) from error

    try:
        if constraint.kind == "json_schema":
            made = llguidance.LLMatcher.grammar_from_json_schema(
                _schema(constraint.source), defaults={"whitespace_flexible": True}
            )
        elif constraint.kind == "regex":
            made = llguidance.grammar_from("regex", constraint.source)
        else:
            made = llguidance.grammar_from("choice", json.loads(constraint.source))
    except ValueError as error:
        raise _refused(constraint, str(error)) from error
    problem = llguidance.LLMatcher.validate_grammar(made)
    if problem:
        raise _refused(constraint, problem)
    return str(made)


def accepts(constraint: Constraint, text: str) -> bool | None:
    """Return whether a text is a whole answer by the grammar, in time that grows with its length.

    Return None where no grammar can tell: the library is missing, or cannot express the structure.
    """
    try:
        made = _made(constraint)
    except (BadInput, NoEngine, ValueError, RecursionError):
        return None
    import llguidance

    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), made)  # a token for each byte
    data = text.encode("utf-8", "surrogatepass")
    taken = matcher.try_consume_tokens(list(data))
    if matcher.is_error():
        return None
    return bool(taken == len(data) and matcher.is_accepting())


_made = lru_cache(maxsize=64)(grammar)


def arguments(constraint: Constraint) -> dict[str, Any]:
    """Return a constraint as keyword arguments for vLLM. Raise BadInput if it is not valid."""
    grammar(constraint)
    if constraint.kind == "json_schema":
        return {"json": _schema(constraint.source)}
    if constraint.kind == "regex":
        return {"regex": constraint.source}
    return {"choice": json.loads(constraint.source)}


def _schema(source: str) -> str:
    """Return a schema whose oneOf binds an answer as anyOf does, which is all that a grammar can.

    That only one of them fits is checked by the schema itself at the end. The option stands in the
    schema, because vLLM hands no others on; one of the user's own stands behind it, and counts.
    """
    if '"oneOf"' not in source:
        return source
    head, brace, rest = source.partition("{")
    options = {"coerce_one_of": True, "whitespace_flexible": True}
    return f'{head}{brace}"x-guidance": {json.dumps(options)}, {rest}'


def _refused(constraint: Constraint, reason: str) -> BadInput:
    kind = constraint.kind.replace("_", " ")
    return BadInput(f"The {kind} cannot be used: {' '.join(reason.split())}.")
