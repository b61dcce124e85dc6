"""What starting the program costs: which libraries it loads, and that it opens no socket."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import DEADLINE_SECONDS, environment
from tulu_cli import __version__

# Runs the program inside a process that watches it, and reports on stderr.
WATCHED = """
import json, sys
sockets = []
sys.addaudithook(lambda event, _: event.startswith("socket.") and sockets.append(event))
from tulu_cli.cli.main import main
try:
    main()
except SystemExit as error:
    code = error.code
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name), sockets]),
      file=sys.stderr)
"""
ENGINES = {"torch", "transformers", "vllm"}
HEAVY = ENGINES | {
    "rich",
    "prompt_toolkit",
    "pydantic",
    "huggingface_hub",
    "tokenizers",
    "jinja2",
    "httpx",
    "numpy",
}


def watched(*arguments: str, **variables: str) -> tuple[int, set[str], list[str]]:
    """The exit code, the top modules that were loaded, and what was done with sockets."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env=environment(variables),
        capture_output=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    code, modules, sockets = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules), sockets


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["--version"],
        ["complete", "--help"],
        ["complete", "-h"],
        ["plan", "--help"],
        ["template", "--help"],
        ["template", "tokens", "--help"],
        ["chat", "-h"],
        ["verify", "-h"],
        ["eval", "-h"],
        ["config", "set", "-h"],
        ["doctor", "-h"],
    ],
    ids=" ".join,
)
def test_help_is_light_and_opens_no_socket(arguments: list[str]) -> None:
    code, modules, sockets = watched(*arguments)
    assert code == 0
    assert modules & HEAVY == set()
    assert sockets == []


def test_a_plan_for_the_family_is_light_and_opens_no_socket() -> None:
    code, modules, sockets = watched("plan", "70b", "--gpu", "h100:4", "--explain")
    assert code == 0
    assert modules & HEAVY == set()
    assert sockets == []


def test_an_answer_of_the_fake_engine_loads_no_engine_library(demo_directory: Path) -> None:
    options = ["--engine", "fake", "-m", str(demo_directory), "--json", "--stats"]
    code, modules, sockets = watched("complete", *options, "hello")
    assert code == 0
    assert modules & (ENGINES | {"rich", "huggingface_hub", "httpx", "numpy"}) == set()
    assert sockets == []


@pytest.mark.parametrize(
    ("arguments", "loaded"),
    [
        (["models", "--help"], []),
        (["models", "pull", "--help"], []),
        (["models"], ["huggingface_hub"]),  # for the place of its cache
        (["models", "show", "8b"], ["huggingface_hub", "httpx"]),
        (["models", "show", "70b", "--benchmarks", "--csv"], []),
    ],
    ids=str,  # no sets: each worker of the suite would write one in an order of its own
)
def test_the_card_and_the_caches_are_read_without_a_socket(
    arguments: list[str], loaded: list[str]
) -> None:
    code, modules, sockets = watched(*arguments)
    assert code == 0
    assert modules & HEAVY <= {*loaded, "pydantic"}
    assert sockets == []


@pytest.mark.parametrize("verb", ["render", "tokens", "lint"])
def test_a_template_needs_no_engine_library(verb: str, demo_directory: Path) -> None:
    code, modules, sockets = watched("template", verb, "-m", str(demo_directory), "hello")
    assert code == 0
    assert modules & (ENGINES | {"rich", "huggingface_hub", "httpx", "numpy"}) == set()
    assert sockets == []


def test_the_console_script_is_the_program() -> None:
    script = Path(sys.executable).with_name("tulu")
    done = subprocess.run([script, "--version"], capture_output=True, check=True, env=environment())
    module = [sys.executable, "-m", "tulu_cli", "--version"]
    again = subprocess.run(module, capture_output=True, check=True, env=environment())
    assert done.stdout == again.stdout == f"tulu {__version__}\n".encode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["template", "tokens", "--model", "tulu", "one", "two"],
        ["template", "render", "one"],
        ["template", "diff", "tulu", "tulu"],
        ["models", "show", "8b"],
        ["config", "get", "temperature"],
        ["plan", "8b", "--gpu", "h100"],
    ],
    ids=" ".join,
)
def test_no_argument_is_read_with_pydantic(arguments: list[str]) -> None:
    _, modules, _ = watched(*arguments)
    assert "typer" in modules
    assert "pydantic" not in modules
