"""What --engine-arg may not give: all that a server of ours is given by tulu itself."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.program import tulu
from tests.warming import spec_of
from tools.vllm_layouts import asked
from tulu_cli.errors import UsageError
from tulu_cli.loading.engine_args import TAKEN, Way, check_engine_args
from tulu_cli.serving.public import public_arguments
from tulu_cli.serving.vllm_server import server_arguments

# What a user may give otherwise, in a script or on a port.
OPEN = {"max_model_len", "generation_config", "enable_prompt_tokens_details"}


def names_in(arguments: list[str]) -> set[str]:
    """The names of options as arguments."""
    options = (word[2:] for word in arguments if word.startswith("--"))
    return {option.removeprefix("no-").replace("-", "_") for option in options}


def test_all_that_a_warm_engine_is_given_is_taken(tmp_path: Path) -> None:
    assert server_arguments(("demo",), tmp_path / "socket").keys() <= TAKEN["warm"].keys()


def test_all_that_a_script_sets_is_taken(tmp_path: Path) -> None:
    found = set().union(*(names_in(arguments) for _, arguments, _ in asked(tmp_path)))
    assert found - OPEN <= TAKEN["script"].keys()
    assert found >= OPEN


def test_all_that_wins_over_the_user_on_a_port_is_taken(demo_directory: Path) -> None:
    ours = public_arguments(spec_of(demo_directory), "127.0.0.1", 8000)
    given = dict.fromkeys(names_in(ours), "theirs")
    found = public_arguments(spec_of(demo_directory, engine_args=given), "127.0.0.1", 8000)
    kept = [option for option, value in pairwise(found) if value != "theirs"]
    assert names_in(kept) == TAKEN["port"].keys() - {"api_key", "uds"}


@pytest.mark.parametrize(
    ("way", "name", "said"),
    [
        ("any", "model", "contradicts the model that is named: leave it out."),
        ("warm", "model", "contradicts the model that is named: leave it out."),
        ("warm", "api_key", "is what tulu sets itself where an engine is kept warm: leave it out."),
        ("port", "uds", "contradicts --host and --port: leave it out."),
        ("script", "data_parallel_size", "contradicts the script: give --replicas instead."),
        ("script", "node_rank", "is what the script sets itself: leave it out."),
        ("ray", "distributed_executor_backend", "contradicts --ray: leave it out."),
    ],
)
def test_what_is_taken_is_refused_in_a_sentence(way: Way, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"^--engine-arg {name} {said}$"):
        check_engine_args(["dtype", name], way)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["complete", "--engine-arg", "model=other", "x"], "model contradicts the model"),
        (["complete", "--keep-alive", "9m", "--engine-arg", "uds=/x", "x"], "uds is what tulu"),
        (
            ["batch", "--ray", "local", "--engine-arg", "distributed-executor-backend=ray"],
            "distributed_executor_backend contradicts --ray",
        ),
    ],
    ids=["complete", "warm", "batch"],
)
def test_commands_refuse_what_is_taken(
    demo_directory: Path, arguments: list[str], said: str
) -> None:
    verb, *others = arguments
    done = tulu(verb, "-m", str(demo_directory), "--engine", "fake", *others)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(f"tulu: --engine-arg {said}".encode())
