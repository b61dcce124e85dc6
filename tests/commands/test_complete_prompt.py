"""The prompt that a model is given: system prompts, a prefilled answer, plain text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.commands.complete import (
    CompleteOptions,
    check_combinations,
    make_request,
)
from tulu_cli.core import Request
from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.choose import EngineChoice
from tulu_cli.errors import BadInput, PromptTooLong, UsageError
from tulu_cli.loading import LoadOptions, Prepared, TokenModel
from tulu_cli.machine import Machine
from tulu_cli.models import TULU_SYSTEM_PROMPT, ModelFiles, ModelRef
from tulu_cli.prompt import Tokenizer
from tulu_cli.request.inputs import Given, conversation
from tulu_cli.request.request import request_maker
from tulu_cli.settings import Setting, Settings

WITH_SYSTEM = b'[{"role": "system", "content": "Its own."}, {"role": "user", "content": "u"}]'
WITHOUT = b'[{"role": "user", "content": "u"}]'


@pytest.fixture(scope="module")
def tokenizer(demo_directory: Path) -> Tokenizer:
    return Tokenizer.load(demo_directory)


def prepared(tokenizer: Tokenizer, *, is_tulu: bool = False) -> Prepared:
    ref = ModelRef("name", "hub", "org/name", is_tulu=is_tulu)
    files = ModelFiles(ref, Path("/nowhere"), None, {}, {"temperature": 0.6})
    spec = EngineSpec("name", files.directory, tokenizer, max_model_len=64)
    model = TokenModel(files, tokenizer, spec, end_token_ids=(2,))
    settings = Settings()
    return Prepared(
        model, EngineChoice("fake", ()), settings, LoadOptions(settings), Machine(), print
    )


def options(origin: str = "flag", *, given: Given | None = None, **values: Any) -> CompleteOptions:
    """Options with these settings, all of one origin; Be brief. has the name `brief`."""
    found = {name: Setting(value, origin) for name, value in values.items()}
    settings = Settings(found, prompts={"brief": "Be brief."})
    return CompleteOptions(LoadOptions(settings), given or Given("say"))


def systems(chosen: CompleteOptions, model: Prepared, data: bytes | None = None) -> list[str]:
    applied = replace(model, settings=chosen.load.settings)
    messages = request_maker(applied).conversation(conversation(chosen.given, data))
    assert all(message.role != "system" for message in messages[1:])
    return [message.content for message in messages if message.role == "system"]


@pytest.mark.parametrize(
    ("asked", "is_tulu", "expected"),
    [
        ({}, True, [TULU_SYSTEM_PROMPT]),
        ({}, False, []),
        ({"system": "none"}, True, []),
        ({"system": "tulu"}, False, [TULU_SYSTEM_PROMPT]),
        ({"system": "brief"}, True, ["Be brief."]),
        ({"system": "Sing."}, True, ["Sing."]),
        ({"system": ""}, True, [""]),
    ],
)
@pytest.mark.parametrize("origin", ["flag", "TULU_SYSTEM"])
def test_the_system_prompt(
    tokenizer: Tokenizer, origin: str, asked: dict[str, Any], is_tulu: bool, expected: list[str]
) -> None:
    assert systems(options(origin, **asked), prepared(tokenizer, is_tulu=is_tulu)) == expected


def test_a_conversation_keeps_its_own_system_message(tokenizer: Tokenizer) -> None:
    model = prepared(tokenizer, is_tulu=True)
    given = Given(messages="-")
    assert systems(options(given=given), model, WITH_SYSTEM) == ["Its own."]
    assert systems(options("TULU_SYSTEM", given=given, system="Sing."), model, WITH_SYSTEM) == [
        "Its own."
    ]
    assert systems(options(given=given), model, WITHOUT) == [TULU_SYSTEM_PROMPT]
    assert systems(options(given=given, system="Sing."), model, WITHOUT) == ["Sing."]
    with pytest.raises(UsageError, match="cannot be combined"):
        systems(options(given=given, system="Sing."), model, WITH_SYSTEM)


def test_a_system_prompt_that_is_not_utf8_is_bad_input(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadInput, match="The system prompt is not UTF-8: byte 0 is 0xff"):
        systems(options(system="\udcff"), prepared(tokenizer))


def request(chosen: CompleteOptions, model: Prepared) -> Request:
    return make_request(chosen, replace(model, settings=chosen.load.settings), None)


def prompt(chosen: CompleteOptions, model: Prepared) -> str:
    """The prompt as the model reads it, control tokens included."""
    ids = request(chosen, model).prompt_token_ids
    tokenizer = model.token_model().tokenizer
    return "".join(str(tokenizer.token_text(token)) for token in ids)


def test_a_prefill_leaves_the_answer_open(tokenizer: Tokenizer) -> None:
    model = prepared(tokenizer)
    open_end = prompt(replace(options(system="s"), prefill="Well"), model)
    closed = prompt(options(system="s"), model)
    assert open_end == closed + "Well"


def test_raw_is_the_text_alone(tokenizer: Tokenizer) -> None:
    model = prepared(tokenizer, is_tulu=True)
    assert prompt(replace(options(given=Given("say")), raw=True), model) == "say"
    assert "<|im_start|>" in prompt(options(given=Given("say")), model)


def test_a_control_token_in_the_text_is_text_unless_allowed(tokenizer: Tokenizer) -> None:
    model, spoof = prepared(tokenizer), options(given=Given("<|im_end|>"), system="s")
    control = tokenizer.encode_text("<|im_end|>")
    honest, allowed = (
        request(replace(spoof, allow_special=allow), model).prompt_token_ids
        for allow in (False, True)
    )
    assert len(control) == 1
    assert allowed.count(control[0]) == honest.count(control[0]) + 1


def test_the_request_has_the_sampling_and_the_room_that_is_left(tokenizer: Tokenizer) -> None:
    chosen = replace(options(given=Given("say")), raw=True, stop=("\n",), n=2, logprobs=1)
    asked = request(chosen, prepared(tokenizer))
    sampling = asked.sampling
    assert (sampling.stop, sampling.n, sampling.logprobs) == (("\n",), 2, 1)
    assert (sampling.temperature, sampling.max_tokens) == (0.6, 63)
    assert asked.stop_token_ids == (2,)


def test_a_prompt_without_room_is_refused_with_the_numbers(tokenizer: Tokenizer) -> None:
    chosen = replace(options(given=Given("a b " * 32)), raw=True)
    with pytest.raises(PromptTooLong, match=r"has 65 tokens and the context length is 64"):
        request(chosen, prepared(tokenizer))


def test_a_stop_string_that_is_not_utf8_is_bad_input(tokenizer: Tokenizer) -> None:
    with pytest.raises(BadInput, match="--stop is not UTF-8"):
        request(replace(options(), stop=("\udcff",)), prepared(tokenizer))


@pytest.mark.parametrize("data", [None, b""])
@pytest.mark.parametrize("raw", [True, False])
def test_an_empty_prompt_is_refused(tokenizer: Tokenizer, raw: bool, data: bytes | None) -> None:
    with pytest.raises(UsageError, match="The prompt is empty"):
        make_request(replace(options(given=Given("")), raw=raw), prepared(tokenizer), data)


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        (options(given=Given(messages="f")), "--raw sends a plain text: --messages"),
        (replace(options(), prefill=""), "--raw sends a plain text: --prefill"),
        (options(system="none"), "--raw sends a plain text: --system"),
    ],
)
def test_raw_has_no_conversation(chosen: CompleteOptions, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        check_combinations(replace(chosen, raw=True))
    check_combinations(chosen)


def test_a_system_prompt_of_the_settings_does_not_forbid_raw() -> None:
    check_combinations(replace(options("TULU_SYSTEM", system="Sing."), raw=True))


def test_logprobs_need_json() -> None:
    with pytest.raises(UsageError, match="add --json"):
        check_combinations(replace(options(), logprobs=0))
    check_combinations(replace(options(), logprobs=0, json_output=True))
