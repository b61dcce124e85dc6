"""From argv to options: what each flag means, and which cannot be combined."""

from typing import Any

import pytest
import typer

from tulu_cli.cli import main
from tulu_cli.commands import complete
from tulu_cli.commands.complete import CompleteOptions
from tulu_cli.core import Constraint
from tulu_cli.errors import UsageError
from tulu_cli.loading import LoadOptions
from tulu_cli.request.inputs import Given
from tulu_cli.settings import KEYS
from tulu_cli.streams import Streams


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from argv to the options that `run` is given."""
    seen: list[CompleteOptions] = []
    for key in KEYS:
        monkeypatch.delenv(f"TULU_{key.name.upper()}", raising=False)
    monkeypatch.setenv("TULU_CONFIG", "/dev/null")
    monkeypatch.setattr(complete, "run", lambda chosen, _streams, _machine: seen.append(chosen))
    monkeypatch.setattr(Streams, "standard", Streams.test)

    def parse(*arguments: str) -> CompleteOptions:
        assert main.run(["complete", *arguments]) == 0
        return seen.pop()

    return parse


def test_nothing_given_is_nothing_set(options: Any) -> None:
    chosen = options()
    assert chosen == CompleteOptions(LoadOptions(chosen.load.settings), Given())
    assert chosen.load.settings.values == {}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["-m", "8b"], "model", "8b"),
        (["--adapter", "a", "--adapter", "b=./c"], "adapter", ["a", "b=./c"]),
        (["-s", "Be brief."], "system", "Be brief."),
        (["--max-tokens", "5"], "max_tokens", 5),
        (["--temperature", "0.5"], "temperature", 0.5),
        (["--temperature", "0"], "temperature", 0.0),
        (["--greedy"], "temperature", 0.0),
        (["--greedy", "--temperature", "0"], "temperature", 0.0),
        (["--top-p", "0.5"], "top_p", 0.5),
        (["--top-k", "5"], "top_k", 5),
        (["--min-p", "0.5"], "min_p", 0.5),
        (["--repetition-penalty", "1.5"], "repetition_penalty", 1.5),
        (["--frequency-penalty", "-2"], "frequency_penalty", -2.0),
        (["--presence-penalty", "0.5"], "presence_penalty", 0.5),
        (["--seed", "7"], "seed", 7),
        (["--engine", "vllm"], "engine", "vllm"),
        (["--dtype", "float16"], "dtype", "float16"),
        (["--quantization", "fp8"], "quantization", "fp8"),
        (["-tp", "4"], "tensor_parallel_size", 4),
        (["-pp", "2"], "pipeline_parallel_size", 2),
        (["--gpu-memory-utilization", "0.5"], "gpu_memory_utilization", 0.5),
        (["--max-model-len", "99"], "max_model_len", 99),
        (["--device", "cuda:1"], "device", "cuda:1"),
        (["--keep-alive", "10m"], "keep_alive", "10m"),
        (["--server", "http://gpu01:8000"], "server", ["http://gpu01:8000"]),
        (["--api-key-env", "KEY"], "api_key_env", "KEY"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_setting_has_its_flag(
    options: Any, arguments: list[str], name: str, value: Any
) -> None:
    settings = options(*arguments).load.settings
    assert {key: setting.value for key, setting in settings.values.items()} == {name: value}
    assert settings.is_flag(name)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["say"], {"given": Given("say")}),
        (["-"], {"given": Given("-")}),
        (["--", "-v"], {"given": Given("-v")}),
        (["-f", "a", "--file", "b"], {"given": Given(None, ("a", "b"))}),
        (["--messages", "-"], {"given": Given(messages="-")}),
        (["--prefill", ""], {"prefill": ""}),
        (["--raw"], {"raw": True}),
        (["--stop", "a", "--stop", "b"], {"stop": ("a", "b")}),
        (["-n", "3"], {"n": 3}),
        (["--logprobs", "0"], {"logprobs": 0}),
        (["--ignore-eos"], {"ignore_eos": True}),
        (["--regex", "a|b"], {"constraint": Constraint("regex", "a|b")}),
        (["--choice", "a", "--choice", "b"], {"constraint": Constraint("choice", '["a", "b"]')}),
        (["--schema", "{}"], {"constraint": Constraint("json_schema", "{}")}),
        (["--json"], {"json_output": True}),
        (["--stats"], {"stats": True}),
        (["--fail-on-length"], {"fail_on_length": True}),
        (["--allow-special"], {"allow_special": True}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_other_option(options: Any, arguments: list[str], changes: dict[str, Any]) -> None:
    chosen = options(*arguments)
    assert chosen == CompleteOptions(**{"load": chosen.load, "given": Given()} | changes)


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--no-server"], {"no_server": True}),
        (["--trust-remote-code"], {"trust_remote_code": True}),
        (["--deterministic"], {"deterministic": True}),
        (["--offline"], {"offline": True}),
        (["--force"], {"force": True}),
        (["-v"], {"verbose": True}),
        (
            ["--engine-arg", "a-b=1", "--engine-arg", "c=x=y", "--engine-arg", 'd={"e": null}'],
            {"engine_args": {"a_b": 1, "c": "x=y", "d": {"e": None}}},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_each_option_of_loading(
    options: Any, arguments: list[str], changes: dict[str, Any]
) -> None:
    load = options(*arguments).load
    assert load == LoadOptions(load.settings, **changes)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--greedy", "--temperature", "0.1"], "--greedy and --temperature cannot be combined"),
        (["--schema", "{}", "--regex", "a"], "--schema, --regex and --choice cannot be combined"),
        (["--choice", "a"], "--choice takes two answers or more"),
        (["--temperature", "-1"], "--temperature takes 0 or more, not -1.0"),
        (["--seed", str(2**63)], "--seed takes from 0 to 2^63 - 1"),
        (["--engine-arg", "a"], "--engine-arg takes KEY=VALUE, not 'a'"),
        (["--engine-arg", "=1"], "--engine-arg takes KEY=VALUE, not '=1'"),
        (["--engine-arg", "a b=1"], "--engine-arg takes KEY=VALUE, not 'a b=1'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_a_usage_error(
    options: Any, arguments: list[str], complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        options(*arguments)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [["a", "b"], ["-n", "0"], ["-n", "1025"], ["--logprobs", "21"], ["--seed", "x"], ["--nope"]],
    ids=" ".join,
)
def test_what_typer_refuses_is_a_usage_error_too(options: Any, arguments: list[str]) -> None:
    with pytest.raises(typer.TyperException) as caught:
        options(*arguments)
    assert caught.value.exit_code == 2
