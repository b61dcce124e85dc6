"""The commands for several machines, and the key check of a public server."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.engines.loading import CONTEXT
from tests.program import tulu
from tests.warming import spec_of
from tulu_cli.engines.vllm.settings import serve_arguments
from tulu_cli.serving.public import cluster_commands, public_arguments
from tulu_cli.serving.vllm_server import parsed


def test_the_commands_for_two_machines() -> None:
    done = tulu(
        "serve",
        "405b",
        "--nodes",
        "2",
        "-tp",
        "8",
        "--quantization",
        "fp8",
        "--max-model-len",
        "4096",
    )
    assert done.stderr == b""
    assert done.stdout.decode() == (
        "# On every machine, beside vLLM, which does not bring it: pip install ray\n"
        "# On the first machine:\n"
        "ray start --head --port=6379\n"
        "# On the other machine, FIRST being the address of the first one:\n"
        "ray start --address=FIRST:6379\n"
        "# On the first machine, when all have joined (2 x 8 GPUs), with the key in KEYFILE:\n"
        'RAY_ADDRESS=auto VLLM_API_KEY="$(cat KEYFILE)" vllm serve '
        "allenai/Llama-3.1-Tulu-3-405B --quantization fp8 --max-model-len 4096 "
        "--tensor-parallel-size 8 --pipeline-parallel-size 2 "
        "--distributed-executor-backend ray --generation-config vllm "
        "--enable-prompt-tokens-details --port 8000\n"
        "# From anywhere:\n"
        'VLLM_API_KEY="$(cat KEYFILE)" tulu complete --server http://FIRST:8000 '
        '--api-key-env VLLM_API_KEY "Hello"\n'
    )


def test_what_is_printed_is_a_script() -> None:
    text = cluster_commands("org/a b;c", {"trust_remote_code": True, "x": {"a": "'"}}, 3, 4, 9)
    assert "# On each of the other 2 machines, FIRST" in text
    (serve,) = (line for line in text.splitlines() if "vllm serve" in line)
    words = shlex.split(serve)
    assert words[4:] == [
        "org/a b;c", "--trust-remote-code", "--x", '{"a": "\'"}', "--tensor-parallel-size", "4",
        "--pipeline-parallel-size", "3", "--distributed-executor-backend", "ray",
        "--generation-config", "vllm", "--enable-prompt-tokens-details", "--port", "9",
    ]  # fmt: skip


def test_arguments_as_options() -> None:
    arguments = {
        "a_b": 1,
        "c": True,
        "d": False,
        "e": None,
        "f": {"g": 1},
        "h": "i j",
        "model": "m",
    }
    expected = ["m", "--a-b", "1", "--c", "--no-d", "--f", '{"g": 1}', "--h", "i j"]
    assert serve_arguments(arguments) == expected


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # vLLM has its own when it is imported
def test_vllms_own_parser_takes_what_we_give_it(demo_directory: Path) -> None:
    changes: dict[str, Any] = {"engine_args": {"max_num_seqs": 4}, "gpu_memory_utilization": 0.5}
    arguments = public_arguments(spec_of(demo_directory, **changes), "127.0.0.1", 8123, "mine")
    found = parsed(arguments)
    assert (found.host, found.port, found.max_num_seqs) == ("127.0.0.1", 8123, 4)
    assert found.model_tag == str(demo_directory)
    assert (found.served_model_name, found.max_model_len) == (["demo", "mine"], CONTEXT)
    assert found.allowed_origins == []
    assert found.middleware == ["tulu_cli.serving.guard.VllmGuard"]
    script = cluster_commands("org/m", {"max_model_len": 99}, 2, 4, 8000)
    (serve,) = (line for line in script.splitlines() if "vllm serve" in line)
    found = parsed(shlex.split(serve)[4:])
    assert (found.model_tag, found.pipeline_parallel_size) == ("org/m", 2)
