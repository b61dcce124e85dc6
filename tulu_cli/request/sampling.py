"""Sampling parameters decided: what the user set, else what the model's authors advise."""

import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tulu_cli.core import Constraint, Sampling
from tulu_cli.errors import BadInput
from tulu_cli.settings import KEYS, Settings

NO_BIAS: Mapping[int, float] = MappingProxyType({})
_FROM_MODEL = tuple(
    key
    for key in KEYS
    if key.name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
)
# No model advises these.
_PENALTIES = ("frequency_penalty", "presence_penalty")


def decide(
    settings: Settings,
    generation_config: Mapping[str, Any],
    *,
    stop: tuple[str, ...] = (),
    n: int = 1,
    logprobs: int | None = None,
    ignore_eos: bool = False,
    constraint: Constraint | None = None,
    logit_bias: Mapping[int, float] = NO_BIAS,
) -> Sampling:
    """Return the sampling of one request. A seed that nobody set is drawn, and so can be reported.

    `generation_config` is the model's own file of that name. Raise BadInput for a value in it
    that makes no sense and that no setting overrides.
    """
    advice = advised(generation_config)
    for key in _FROM_MODEL:
        if key.name in advice and key.name not in settings.values:
            _check(key.problem(advice[key.name]), key.name)
    chosen = advice | {name: setting.value for name, setting in settings.values.items()}
    names = (*(key.name for key in _FROM_MODEL), *_PENALTIES)
    return Sampling(
        max_tokens=settings.get("max_tokens"),
        max_reasoning_tokens=settings.get("max_reasoning_tokens"),
        seed=settings.get("seed", secrets.randbelow(2**31)),
        stop=stop,
        n=n,
        logprobs=logprobs,
        ignore_eos=ignore_eos,
        constraint=constraint,
        logit_bias=dict(logit_bias),
        **{name: chosen[name] for name in names if name in chosen},
    )


def unchosen(settings: Settings) -> frozenset[str]:
    """Return the sampling parameters that nobody has set, and that a server may decide itself."""
    return frozenset(
        name for name in ("temperature", "top_p", "seed") if name not in settings.values
    )


def advised(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a generation_config.json says about choosing tokens, as transformers reads it.

    With `do_sample` false it asks for greedy decoding: transformers then ignores the values for
    drawing, and applies the penalty all the same.
    """
    found = {
        key.name: float(value) if key.kind is float and type(value) is int else value
        for key in _FROM_MODEL
        if (value := generation_config.get(key.name)) is not None
    }
    if generation_config.get("do_sample") is not False:
        return found
    return {"temperature": 0.0} | {
        name: value for name, value in found.items() if name == "repetition_penalty"
    }


def _check(problem: str | None, name: str) -> None:
    if problem:
        flag = f"--{name.replace('_', '-')}"
        raise BadInput(f"The model's generation_config.json: {name} {problem} Give {flag}.")
