"""The structures that bind an answer, put through llguidance without a model."""

import json

import pytest
from llguidance import LLMatcher, LLTokenizer

from tulu_cli.core import Constraint
from tulu_cli.engines.guidance import arguments, grammar

NUMBERS = '{"oneOf": [{"type": "integer"}, {"type": "number"}]}'
NESTED = (
    ' {"type": "object", "properties": {"oneOf": {"$ref": "#/$defs/n"}}, "required": ["oneOf"], '
    f'"$defs": {{"n": {NUMBERS}}}}}'
)


def allows(made: str, answer: str) -> bool:
    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, made)
    tokens = tokenizer.tokenize_str(answer)
    return bool(matcher.consume_tokens(tokens) and matcher.is_accepting())


@pytest.mark.parametrize(
    ("schema", "answer"),
    [(NUMBERS, "3"), (NUMBERS, "3.5"), (NESTED, '{"oneOf": 3.5}'), (NESTED, '{ "oneOf" : 3 }')],
)
def test_one_of_binds_as_any_of_for_both_engines(schema: str, answer: str) -> None:
    constraint = Constraint("json_schema", schema)
    assert allows(grammar(constraint), answer)
    assert not allows(grammar(constraint), '"x"')
    handed = arguments(constraint)["json"]
    made = LLMatcher.grammar_from_json_schema(handed, defaults={"whitespace_flexible": True})
    assert not LLMatcher.validate_grammar(made)
    assert allows(made, answer)
    told = json.loads(handed)
    del told["x-guidance"]
    assert told == json.loads(schema)


def test_vllm_gets_any_other_schema_as_it_is() -> None:
    schema = '{"type":  "integer"}'
    assert arguments(Constraint("json_schema", schema)) == {"json": schema}
