"""The scripts for several machines, and the options of a public server."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engines.loading import CONTEXT
from tests.program import tulu
from tests.warming import spec_of
from tools.vllm_layouts import arguments_of, asked, differences, read, write_model
from tulu_cli.engines.vllm.settings import serve_arguments
from tulu_cli.plan.sharding import Layout
from tulu_cli.serving.deployment import Deployment, deployment_script
from tulu_cli.serving.public import public_arguments
from tulu_cli.serving.vllm_server import parsed


def serve(*arguments: str) -> str:
    done = tulu("serve", *arguments)
    assert done.stderr == b""
    return done.stdout.decode()


def test_the_script_for_two_machines() -> None:
    text = serve(
        "405b", "--nodes", "2", "-tp", "8", "--quantization", "fp8", "--max-model-len", "4096"
    )
    assert text == (
        "# allenai/Llama-3.1-Tulu-3-405B on 2 machines with 8 GPUs each: tensor parallel 8, "
        "pipeline\n# parallel 2.\n"
        "# Set FIRST to the address of the first machine of a server, RANK to 0 there and to 1, 2 "
        "and so on\n"
        "# on its others, and KEYFILE to the file with the API key; then paste this on each of "
        "them.\n"
        'VLLM_API_KEY="$(cat "${KEYFILE:?set it to the file with the API key}")" &&\n'
        'export VLLM_API_KEY="${VLLM_API_KEY:?the file with the API key is empty}" &&\n'
        "vllm serve allenai/Llama-3.1-Tulu-3-405B --generation-config vllm "
        "--enable-prompt-tokens-details --quantization fp8 --max-model-len 4096 "
        "--tensor-parallel-size 8 --pipeline-parallel-size 2 --port 8000 --nnodes 2 "
        '--node-rank "${RANK:?set it to 0 on the first machine, to 1 on the next, and so on}" '
        '--master-addr "${FIRST:?set it to the address of the first machine}" --master-port 29501 '
        '$([ "$RANK" = 0 ] || echo --headless)\n'
        "# Then, from anywhere, with the address of a server's first machine for FIRST:\n"
        '# VLLM_API_KEY="$(cat KEYFILE)" tulu complete --server http://FIRST:8000 '
        '--api-key-env VLLM_API_KEY "Hello"\n'
    )


def test_replicas_without_experts_are_servers_of_their_own() -> None:
    text = serve("8b", "--nodes", "2", "--replicas", "4", "-tp", "4")
    assert "each machine is a\n# server of its own, as vLLM's documentation advises." in text
    assert "--tensor-parallel-size 4 --data-parallel-size 2 --port 8000\n" in text
    assert "\n# tulu batch --server http://FIRST:8000 --server http://NEXT:8000 " in text
    assert "RANK" not in text


def test_replicas_with_experts_are_one_server(tmp_path: Path) -> None:
    model = write_model(tmp_path, has_experts=True)
    text = serve(str(model), "--nodes", "2", "--replicas", "4", "-tp", "4")
    assert "--data-parallel-size 4 --data-parallel-size-local 2" in text
    assert "echo --headless --data-parallel-start-rank $((RANK * 2)))" in text
    assert "&& vllm serve " in text.splitlines()[-1]


def test_the_experts_of_internvl_are_found(tmp_path: Path) -> None:
    config = '{"architectures": ["InternVLChatModel"], "llm_config": {"num_experts": 128}}'
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "tokenizer.json").write_text("{}")
    text = serve(str(tmp_path), "--nodes", "2", "--replicas", "4", "-tp", "4")
    assert "--data-parallel-start-rank" in text


def test_ray_has_one_command_for_all() -> None:
    text = serve("405b", "--nodes", "2", "--ray", "10.0.0.1:6379")
    assert "pip install ray\n" in text
    assert "\nRAY_ADDRESS=10.0.0.1:6379 vllm serve " in text
    assert "--distributed-executor-backend ray" in text
    assert "RANK" not in text


@pytest.mark.parametrize("address", ["auto", "ray://10.0.0.1:10001"])
def test_a_cluster_is_joined_where_its_machines_are(address: str) -> None:
    text = deployment_script("m", {}, Deployment(2, Layout(8, 2)), 8000, address)
    assert "ray start --address=FIRST:6379\n" in text


def test_arguments_of_the_user_win() -> None:
    asked = ("--engine-arg", "generation_config=auto", "--engine-arg")
    text = serve("8b", "--replicas", "2", "-tp", "1", *asked, "enable_prompt_tokens_details=false")
    assert "--generation-config auto --no-enable-prompt-tokens-details" in text


def test_settings_of_this_machine_are_said_to_be_left_out() -> None:
    env = {"TULU_ENGINE": "transformers", "TULU_DEVICE": "cpu", "TULU_DRAFT": "ngram"}
    done = tulu("serve", "405b", "--nodes", "2", "--draft", "none", "--adapter", "none", env=env)
    told = done.stderr.decode().splitlines()
    assert [line.partition(" (TULU_")[0] for line in told] == [
        "tulu: engine = transformers",
        "tulu: device = cpu",
    ]
    assert b"vllm serve" in done.stdout
    refused = tulu("serve", "405b", "--nodes", "2", env={"TULU_DRAFT": "ngram"})
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.startswith(b"tulu: draft (TULU_DRAFT) is for one engine: for several, ")


def test_what_is_printed_is_a_script_that_does_not_serve_without_its_key(tmp_path: Path) -> None:
    odd = {"trust_remote_code": True, "x": {"a": "'"}}
    text = deployment_script("org/a b;c\n", odd, Deployment(3, Layout(4, 3)), 9)
    assert arguments_of(text, 2, tmp_path) == [
        "org/a b;c\n", "--generation-config", "vllm", "--enable-prompt-tokens-details",
        "--trust-remote-code", "--x", '{"a": "\'"}', "--tensor-parallel-size", "4",
        "--pipeline-parallel-size", "3", "--port", "9", "--nnodes", "3", "--node-rank", "2",
        "--master-addr", "10.0.0.1", "--master-port", "29501", "--headless",
    ]  # fmt: skip
    experts = deployment_script("m", {}, Deployment(2, Layout(4, 1, 4), has_experts=True), 9)
    each_for_itself = experts.splitlines()[-1].removeprefix("# ")
    assert "--data-parallel-hybrid-lb" in arguments_of(each_for_itself, 1, tmp_path)
    (tmp_path / "empty").write_text("\n")
    key, never = str(tmp_path / "key"), tmp_path / "never"
    usual = {"FIRST": "10.0.0.1", "RANK": "0", "NOTED": str(never)}
    usual["PATH"] = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    lacking = [(script, {"KEYFILE": file}) for script in (text, experts, each_for_itself)
               for file in ("", "/nowhere", str(tmp_path / "empty"))]  # fmt: skip
    lacking += [(script, {"KEYFILE": key, "RANK": ""}) for script in (text, experts)]
    for script, given in lacking:
        env = usual | given
        ended = subprocess.run(["sh", "-c", script], env=env, stderr=subprocess.PIPE, check=False)
        assert ended.returncode != 0, (script, given)
        assert not never.exists()
        assert ended.stderr


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
    changes: dict[str, Any] = {
        "engine_args": {"max_num_seqs": 4, "uvicorn_log_level": "info"},
        "gpu_memory_utilization": 0.5,
    }
    arguments = public_arguments(spec_of(demo_directory, **changes), "127.0.0.1", 8123, "mine")
    found = parsed(arguments)
    assert (found.host, found.port, found.max_num_seqs) == ("127.0.0.1", 8123, 4)
    assert found.model_tag == str(demo_directory)
    assert (found.served_model_name, found.max_model_len) == (["demo", "mine"], CONTEXT)
    assert (found.allowed_origins, found.uvicorn_log_level) == ([], "info")
    assert found.middleware == ["tulu_cli.serving.guard.VllmGuard"]


@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
def test_vllm_makes_of_our_scripts_what_is_meant(tmp_path: Path) -> None:
    """`python -m tools.vllm_layouts` asks the releases that are not installed."""
    found = [
        (name, differences(read(arguments), facts)) for name, arguments, facts in asked(tmp_path)
    ]
    assert [each for each in found if each[1]] == []
    assert len(found) == 16
