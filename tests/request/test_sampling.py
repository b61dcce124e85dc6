"""Sampling decided: the user's values over the model's, and nothing left unset."""

from typing import Any

import pytest

from tulu_cli.core import Constraint, Sampling
from tulu_cli.errors import BadInput
from tulu_cli.request.sampling import advised, decide
from tulu_cli.settings import Setting, Settings

TULU = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 128001}


def settings(**values: Any) -> Settings:
    return Settings({name: Setting(value, "flag") for name, value in values.items()})


@pytest.mark.parametrize(
    ("generation_config", "expected"),
    [
        ({}, {}),
        (TULU, {"temperature": 0.6, "top_p": 0.9}),
        ({"temperature": None, "top_k": 50}, {"top_k": 50}),
        ({"temperature": 1, "top_p": 1}, {"temperature": 1.0, "top_p": 1.0}),
        ({"do_sample": False, "temperature": 0.6}, {"temperature": 0.0}),
        (
            {"do_sample": False, "top_k": 5, "repetition_penalty": 1.1},
            {"temperature": 0.0, "repetition_penalty": 1.1},
        ),
    ],
)
def test_what_a_model_advises(generation_config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert advised(generation_config) == expected


def test_the_user_wins_value_by_value() -> None:
    sampling = decide(settings(temperature=0.0, seed=7, max_tokens=3), TULU)
    assert sampling == Sampling(max_tokens=3, temperature=0.0, top_p=0.9, seed=7)
    assert sampling.greedy


def test_what_is_not_a_setting_is_passed_on() -> None:
    constraint = Constraint("regex", "a+")
    sampling = decide(
        settings(seed=1),
        {},
        stop=("\n",),
        n=3,
        logprobs=2,
        ignore_eos=True,
        constraint=constraint,
    )
    assert sampling == Sampling(
        seed=1, stop=("\n",), n=3, logprobs=2, ignore_eos=True, constraint=constraint
    )


def test_a_seed_that_nobody_set_is_drawn() -> None:
    seeds = {decide(settings(), {}).seed for _ in range(8)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_k", -1), ("temperature", "warm"), ("top_p", float("nan")), ("min_p", True)],
)
def test_nonsense_in_the_models_file_is_refused_unless_overridden(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=rf"generation_config\.json: {name} takes .* Give --"):
        decide(settings(), {name: value})
    decide(settings(**{name: 1}), {name: value})
