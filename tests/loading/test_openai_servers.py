"""Which model of a foreign server answers, and what it cannot be asked."""

from typing import Any

import pytest

from tulu_cli.commands import _options
from tulu_cli.core import Constraint
from tulu_cli.errors import UsageError
from tulu_cli.loading.servers import applicable, chosen_model, refuse
from tulu_cli.protocol.chat import CANNOT
from tulu_cli.settings import Setting, Settings
from tulu_cli.warm.endpoint import ChatServer

URL = "http://host:1"


def settings(origin: str = "flag", /, **values: Any) -> Settings:
    found = {name: Setting(value, origin) for name, value in values.items()}
    return Settings(found, aliases={"quick": "blue-1-mini"})


@pytest.mark.parametrize(
    ("asked", "models", "expected"),
    [
        (settings(model="other"), ("blue-1",), "other"),
        (settings(model="quick"), ("blue-1",), "blue-1-mini"),
        (settings(model="other"), (), "other"),
        (settings("/model", model="other"), ("blue-1",), "other"),
        (settings("config.toml", model="b"), ("a", "b"), "b"),
        (settings("config.toml", model="8b"), ("blue-1",), "blue-1"),
        (settings(), ("blue-1",), "blue-1"),
    ],
)
def test_the_model_that_is_meant(asked: Settings, models: tuple[str, ...], expected: str) -> None:
    assert chosen_model(ChatServer(url=URL, models=models), asked) == expected


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        ((), f"The server at {URL} lists no models: name one with -m."),
        (("a", "b\n"), f"The server at {URL} has several models: -m takes a, 'b\\n'."),
    ],
)
def test_a_choice_is_the_users(models: tuple[str, ...], complaint: str) -> None:
    for asked in (settings(), settings("config.toml", model="8b")):
        with pytest.raises(UsageError) as caught:
            chosen_model(ChatServer(url=URL, models=models), asked)
        assert str(caught.value) == complaint


def test_sampling_that_cannot_be_told_is_said_once_or_refused() -> None:
    said: list[str] = []
    found = applicable(settings("TULU_TOP_K", top_k=5, min_p=0.0, top_p=0.5), URL, said.append)
    assert said == [
        "tulu: top_k = 5 (TULU_TOP_K) is left out: chat completions have no such parameter."
    ]
    assert list(found.values) == ["top_p"]
    with pytest.raises(UsageError) as caught:
        applicable(settings(top_k=0), URL, said.append)
    assert str(caught.value) == (
        f"--top-k cannot be asked of the server at {URL}: chat completions have no such parameter."
    )


def test_settings_of_engines_here_are_no_matter() -> None:
    kept = settings("config.toml", dtype="float16", engine="vllm")
    assert applicable(kept, URL, pytest.fail).values == kept.values


def test_options_are_refused_by_their_names() -> None:
    refuse({"raw": False, "prefill": False}, None, URL)
    refuse({}, Constraint("json_schema", "{}"), URL)
    with pytest.raises(UsageError, match=r"--prefill cannot be asked of .*: it makes the prompt"):
        refuse({"raw": False, "prefill": True}, None, URL)
    with pytest.raises(UsageError, match="--regex cannot be asked of"):
        refuse({}, Constraint("regex", "a"), URL)


def test_each_of_them_is_an_option() -> None:
    declared = {name.lower() for name in vars(_options)}
    own = {"raw", "prefill", "overflow", "score"}  # of one command alone
    for name in CANNOT.keys() - own:
        assert name.replace("_", "") in declared
