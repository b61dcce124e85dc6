"""Scores between our client and a server, as vLLM's `prompt_logprobs`.

The completion is the end of the prompt. vLLM reports the logprob of every token of a prompt; our
own server leaves out the first `context_tokens`, a field of ours, and generates no token.
"""

from collections.abc import Mapping
from typing import Any

from tulu_cli.core import Score, ScoreRequest, TokenLogprob, Usage
from tulu_cli.errors import EngineError
from tulu_cli.protocol.completions import finite, usage_object, wire_logprob
from tulu_cli.protocol.fields import BadField, is_off

# Each with the values that change nothing: a score is whole, and nothing is drawn for it.
_OFF: Mapping[str, tuple[Any, ...]] = {
    "stream": (False,),
    "echo": (False,),
    "n": (1,),
    "max_tokens": (0, 1),
    "logprobs": (),
    "structured_outputs": (),
}


def score_body(request: ScoreRequest, model: str) -> dict[str, Any]:
    """Return a score request as the body of POST /v1/completions."""
    return {
        "model": model,
        "prompt": list(request.token_ids),
        "context_tokens": request.context_tokens,
        "prompt_logprobs": request.top,
        "max_tokens": 1,
        "temperature": 0.0,
    }


def read_score_request(body: Mapping[str, Any], ids: tuple[int, ...]) -> ScoreRequest:
    """Return the score request of a body with `prompt_logprobs`, for the prompt `ids`.

    Raise BadField for a value that a score cannot have.
    """
    asked = body["prompt_logprobs"]
    if type(asked) is not int or not 0 <= asked <= 20:
        raise BadField("prompt_logprobs", "takes a whole number from 0 to 20.")
    for name, values in _OFF.items():
        if not is_off(body.get(name), values):
            raise BadField(name, "does not go with prompt_logprobs here.")
    context = body.get("context_tokens", 1)
    if type(context) is not int or not 1 <= context < len(ids):
        raise BadField(
            "context_tokens",
            f"can be 1 to {len(ids) - 1:,} for a prompt of {len(ids):,} tokens, of which the "
            "others are scored.",
        )
    return ScoreRequest(ids, context, max(1, asked))


def score_choice(request: ScoreRequest, score: Score, alternatives: int) -> dict[str, Any]:
    """Return the choice that holds a score: a table for each token, null for the context."""
    tables = [logprob_table(entry, alternatives) for entry in score.tokens]
    return {
        "index": 0,
        "text": "",
        "logprobs": None,
        "finish_reason": "length",
        "stop_reason": None,
        "prompt_logprobs": [*[None] * request.context_tokens, *tables],
    }


def score_usage(request: ScoreRequest) -> dict[str, Any]:
    """Return the token counts of a score, for which nothing is generated."""
    return usage_object(Usage(len(request.token_ids), 0), with_cached=False)


def logprob_table(entry: TokenLogprob, alternatives: int) -> dict[str, dict[str, float]]:
    """Return a token of a prompt and the likeliest ones in its place, by their ids."""
    told = ((entry.token_id, entry.logprob), *entry.top[:alternatives])
    return {str(token): {"logprob": wire_logprob(logprob)} for token, logprob in told}


def read_score(request: ScoreRequest, told: Any) -> Score:
    """Return the score in a server's answer. Raise EngineError if it has none."""
    try:
        tables = told["choices"][0]["prompt_logprobs"][request.context_tokens :]
        pairs = zip(request.completion_token_ids, tables, strict=True)
        return Score(
            tuple(with_likeliest(token, _logprobs(table), request.top) for token, table in pairs)
        )
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise EngineError(
            "The server does not say how likely a prompt is (prompt_logprobs): it cannot score."
        ) from error


def with_likeliest(token: int, logprobs: Mapping[int, float], top: int = 1) -> TokenLogprob:
    """Return a token's entry, from the logprobs of it and of the `top` likeliest in its place."""
    # Of a tie it is the given token.
    best = sorted(logprobs, key=lambda other: (-logprobs[other], other != token))[:top]
    return TokenLogprob(token, logprobs[token], tuple((one, logprobs[one]) for one in best))


def _logprobs(table: Mapping[str, Any]) -> dict[int, float]:
    return {int(token): finite(float(told["logprob"])) for token, told in table.items()}
