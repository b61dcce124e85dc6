"""`tulu plan` as a user runs it: what it prints, and the exit code."""

import json
import shlex
import struct
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.models.tiny_gguf import write_tiny_gguf
from tests.plan.tiny import LLAMA
from tests.program import tulu
from tulu_cli.cli import router


def plan(*arguments: str) -> tuple[int, str, str]:
    done = tulu("plan", *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_plan_that_fits_says_so_in_vllms_own_words() -> None:
    code, output, errors = plan("8b", "--gpu", "h100", "--max-model-len", "8192")
    assert (code, errors) == (0, "")
    assert "8b on 1 x H100" in output.splitlines()[0]
    assert output.splitlines()[0].endswith(": fits")
    assert "Maximum concurrency for 8,192 tokens per request: " in output
    assert "vllm serve allenai/Llama-3.1-Tulu-3-8B --max-model-len 8192" in output
    assert "\x1b" not in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("8b", "--gpu", "h100"),
        ("70b", "--gpu", "h100:4", "--quantization", "fp8"),
        ("8b", "--gpu", "h100:8", "-tp", "4", "-pp", "2", "--enforce-eager"),
    ],
    ids=" ".join,
)
def test_the_program_takes_the_commands_that_are_advised(arguments: tuple[str, ...]) -> None:
    _, output, _ = plan(*arguments)
    advised = [shlex.split(line) for line in output.splitlines() if line.startswith("  tulu ")]
    assert [words[1] for words in advised] == ["serve", "complete"]
    for words in advised:
        command = typer.main.get_command(router.app_of((words[1],)))
        command.make_context("tulu", words[2:]).close()


def test_the_commands_have_what_was_planned_with() -> None:
    asked = ["--enforce-eager", "--kv-cache-dtype", "fp8", "--block-size", "32"]
    asked += ["--max-num-seqs", "32", "--dtype", "float16"]
    _, output, _ = plan("8b", "--gpu", "h100", *asked)
    ours = "--engine-arg kv_cache_dtype=fp8 --engine-arg block_size=32"
    ours = f"--dtype float16 {ours} --engine-arg max_num_seqs=32 --engine-arg enforce_eager=true"
    theirs = "--kv-cache-dtype fp8 --block-size 32 --max-num-seqs 32 --enforce-eager"
    theirs = f"--dtype float16 {theirs}"
    for command, words in (("tulu serve", ours), ("tulu complete", ours), ("vllm serve", theirs)):
        (line,) = (line for line in output.splitlines() if line.startswith(f"  {command} "))
        assert words in line


def test_what_does_not_fit_is_printed_and_is_exit_3_with_the_nearest_changes() -> None:
    code, output, errors = plan("70b", "--gpu", "h100")
    assert code == 3
    assert errors.startswith("tulu: 70b does not fit: ")
    assert len(errors.splitlines()) == 1
    assert "-tp 2" in output
    assert "serve" not in output


def test_what_fits_only_just_is_exit_0_with_a_warning() -> None:
    code, output, errors = plan("70b", "--gpu", "h100:2", "--vllm-version", "0.32.0")
    assert code == 0
    assert "fits tightly" in output
    assert "only just" in errors


def test_json_has_every_number() -> None:
    code, output, _ = plan("70b", "--gpu", "h100:4", "--json", "--concurrency", "32")
    found = json.loads(output)
    assert code == 0
    assert found["verdict"] == "fits"
    assert found["tensor_parallel_size"] == found["gpus"] == 4
    (rank,) = found["ranks"]
    assert rank["weights"] > 32 * 2**30
    used = rank["weights"] + sum(
        rank[part]["expected"] for part in ("activation", "other", "graphs")
    )
    assert rank["kv"]["expected"] == found["requested_bytes"] - used
    blocks = found["kv_cache"]["blocks"]
    assert blocks["low"] < blocks["expected"] < blocks["high"]
    assert found["concurrency"] == 32


def test_models_side_by_side() -> None:
    code, output, _ = plan("--compare", "8b,70b", "--gpu", "a100-80gb:2")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == ["model", "8b", "70b"]
    code, output, _ = plan("--compare", "8b,70b", "--gpu", "a100-80gb:2", "--json")
    assert [found["model"] for found in json.loads(output)["plans"]] == ["8b", "70b"]


def test_without_a_gpu_the_catalogue_is_ranked_by_fewest() -> None:
    code, output, _ = plan("8b", "--concurrency", "4")
    assert code == 0
    counts = [int(line.split()[0]) for line in output.splitlines()[1:]]
    assert counts == sorted(counts)
    assert len(counts) > 30


@pytest.mark.parametrize(
    ("what", "least", "most"),
    [
        ("max-model-len", 8192, 131072),
        ("concurrency", 10, 100),
        ("utilization", 0.2, 0.4),
        ("gpus", 1, 1),
    ],
)
def test_find_prints_one_value(what: str, least: float, most: float) -> None:
    code, output, _ = plan("8b", "--gpu", "h100", "--find", what)
    assert code == 0
    assert least <= float(output) <= most


def test_a_value_that_was_found_is_json_too() -> None:
    code, output, _ = plan("8b", "--gpu", "h100", "--find", "gpus", "--json")
    assert (code, json.loads(output)) == (0, {"find": "gpus", "value": 1})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--find", "concurrency"), "70b fits with no concurrency here: choose"),
        (("--find", "gpus", "--concurrency", "100000000"), "70b fits with no number of GPUs here"),
        (("--plot", "p.svg"), "There is nothing to draw: no context of 256 tokens or more fits."),
    ],
)
def test_what_cannot_be_found_or_drawn_is_exit_3(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = plan("70b", "--gpu", "24GiB", *arguments)
    assert code == 3
    assert errors.startswith(f"tulu: {sentence}")
    assert list(tmp_path.iterdir()) == []


def test_explain_shows_the_formulas_and_the_rules_sources() -> None:
    _, output, _ = plan("8b", "--gpu", "h100", "--explain", "--vllm-version", "0.19.0")
    assert "requested = 79.18 GiB total x 0.90 utilization = 71.26 GiB" in output
    assert "a token in a layer = 2 x 8 KV heads x 128 values = 4,096 bytes" in output
    assert "PR #12369" in output


def test_a_plot_is_an_svg_that_parses(tmp_path: Path) -> None:
    from xml.etree import ElementTree as ET

    target = tmp_path / "plan.svg"
    code, _, errors = plan("8b", "--gpu", "h100", "--plot", str(target))
    assert (code, errors) == (0, f"tulu: drew {target}\n")
    root = ET.fromstring(target.read_text())
    assert len(root.findall(".//{http://www.w3.org/2000/svg}polyline")) == 1
    code, _, errors = plan("8b", "--gpu", "h100", "--plot", str(tmp_path / "no" / "plan.svg"))
    assert code == 1
    assert "cannot be written" in errors


def test_nodes_are_stages_and_have_a_script() -> None:
    _, output, _ = plan("405b", "--gpu", "h100:8", "--nodes", "2")
    assert "stage 1: weights" in output
    assert "tulu serve allenai/Llama-3.1-Tulu-3-405B " in output


def test_transformers() -> None:
    code, output, _ = plan("8b", "--gpu", "24GiB", "--engine", "transformers", "--batch", "4")
    assert code == 0
    assert "weights" in output
    code, _, errors = plan("8b", "--gpu", "8GiB", "--engine", "transformers")
    assert code == 3
    assert "does not fit" in errors


@pytest.mark.parametrize(
    ("old", "new"),
    [("--eager", "--enforce-eager"), ("--batch", "--batch-size"), ("--beams", "--num-beams")],
)
def test_an_older_name_of_an_option_is_taken_too(old: str, new: str) -> None:
    engine = "vllm" if old == "--eager" else "transformers"
    value = () if old == "--eager" else ("3",)
    asked = ("8b", "--gpu", "80GiB", "--engine", engine)
    outputs = {plan(*asked, name, *value)[1] for name in (old, new)}
    assert len(outputs) == 1
    assert outputs != {plan(*asked)[1]}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "needs a MODEL"),
        (("8b", "--gpu", "h101"), "Did you mean h100"),
        (("8b", "--gpu", "h100", "-tp", "3"), "32 attention heads"),
        (("8b", "--gpu", "h100:2", "-tp", "4"), "needs 4 GPUs, and there are 2"),
        (("8b", "--gpu", "h100", "--concurrency", "0"), "--concurrency"),
        (("8b", "--gpu", "h100", "--max-model-len", "9999999"), "131,072"),
        (("8b", "--gpu", "h100", "--gpu-memory-utilization", "1.5"), "up to 1"),
        (("8b", "--gpu", "h100", "--quantization", "fp9"), "takes one of"),
        (("8b", "--gpu", "h100", "--quantization", "bitsandbytes"), "install vllm-bnb-plugin"),
        (("8b", "--gpu", "h100", "--quantization", "gguf-q4_k"), "install vllm-gguf-plugin"),
        (("8b", "--gpu", "h100", "--kv-cache-dtype", "int2"), "takes one of"),
        (("8b", "--gpu", "h100", "--find", "happiness"), "takes one of"),
        (("8b", "--gpu", "h100", "--vllm-version", "new"), "such as 0.24.0"),
        (("8b", "--engine", "llama.cpp"), "vllm or transformers"),
        (("8b", "--gpu", "h100", "--batch-size", "2"), "--batch-size is for --engine transformers"),
        (
            ("8b", "--gpu", "h100", "--engine", "transformers", "--find", "gpus"),
            "--find is for --engine vllm only",
        ),
        (("8b", "--engine", "transformers", "--quantized-cache", "3"), "4 or 2 bits"),
        (("8b", "--compare", "8b,70b"), "--compare only"),
        (("--compare", "8b"), "two or more"),
        (("--compare", "8b,70b", "--find", "gpus"), "one MODEL"),
    ],
)
def test_a_mistake_is_exit_2_and_one_sentence(arguments: tuple[str, ...], problem: str) -> None:
    code, output, errors = plan(*arguments)
    assert code == 2, errors
    assert problem in errors
    assert len(errors.splitlines()) == 1
    assert output == ""


def model_directory(folder: Path, config: dict[str, Any], header: bytes | None = None) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    if header is not None:
        (folder / "model.safetensors").write_bytes(header)
    return folder


def safetensors(tensors: dict[str, Any]) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + bytes(2**16)


EMBEDDING = {"model.embed_tokens.weight": {"dtype": "F16", "shape": [130, 64]}}
FIRST_LAYER = {"model.layers.0.mlp.up_proj.weight": {"dtype": "F16", "shape": [160, 64]}}


@pytest.mark.parametrize(
    ("config", "header", "code", "problem"),
    [
        ({**LLAMA, "hidden_size": None}, None, 65, "has no hidden_size"),
        (
            {**LLAMA, "architectures": ["FooForCausalLM"]},
            None,
            1,
            "KV cache of FooForCausalLM unknown",
        ),
        (LLAMA, b"\x00", 65, "cut short"),
        (LLAMA, struct.pack("<Q", 500) + b"{}", 65, "has 2 of 500 bytes"),
        (LLAMA, struct.pack("<Q", 2) + b"[]", 65, "not a JSON object"),
        (LLAMA, safetensors({"a": {"dtype": "F99", "shape": [1]}}), 65, "F99"),
        (LLAMA, safetensors({"a": {"dtype": "F16"}}), 65, "no shape"),
        (
            LLAMA,
            safetensors({"model.embed_tokens.weight": {"dtype": "F16", "shape": [7, 64]}}),
            1,
            "do not belong together",
        ),
        (LLAMA, safetensors(EMBEDDING), 65, "lack 5 of the 5 layers"),
        (LLAMA, safetensors(EMBEDDING | FIRST_LAYER), 65, "lack 4 of the 5 layers"),
        ({}, None, 1, "KV cache of a model without a name unknown"),
        ({**LLAMA, "num_hidden_layers": 0}, None, 65, "has a num_hidden_layers of 0"),
        ({**LLAMA, "num_hidden_layers": 10**8}, None, 65, "has a num_hidden_layers of 100000000"),
        ({**LLAMA, "num_attention_heads": 0}, None, 65, "has a num_attention_heads of 0"),
        ({**LLAMA, "num_attention_heads": 65}, None, 65, "65 attention heads for a hidden_size of"),
        ({**LLAMA, "vocab_size": 0}, None, 65, "has a vocab_size of 0"),
        (
            {**LLAMA, "architectures": ["\x1b]52;c;aGk=\x07"]},
            None,
            1,
            "␛]52",
        ),
    ],
)
def test_a_model_that_is_broken_or_not_known(
    config: dict[str, Any], header: bytes | None, code: int, problem: str, tmp_path: Path
) -> None:
    directory = model_directory(tmp_path, config, header)
    found, output, errors = plan(str(directory), "--gpu", "24GiB")
    assert (found, output) == (code, "")
    assert problem in errors


def test_a_checkpoint_of_bitsandbytes_is_for_transformers_or_a_plug_in(tmp_path: Path) -> None:
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    directory = str(model_directory(tmp_path, {**LLAMA, "quantization_config": quantized}))
    code, output, errors = plan(directory, "--gpu", "24GiB")
    assert (code, output) == (2, "")
    assert "pip install vllm-bnb-plugin" in errors
    assert plan(directory, "--gpu", "24GiB", "--engine", "transformers")[0] == 0
    old = plan(directory, "--gpu", "24GiB", "--vllm-version", "0.27.1")
    assert old[0] == 0


def test_a_plug_in_that_is_installed_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm_bnb_plugin-0.0.3.dist-info").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, output, _ = plan("8b", "--gpu", "h100", "--quantization", "bitsandbytes")
    assert code == 0
    assert "vllm serve" in output
    assert "--quantization bitsandbytes" in output


def test_vllm_is_not_told_to_serve_a_gguf_file(tmp_path: Path) -> None:
    file = str(write_tiny_gguf(tmp_path / "tiny.gguf"))
    code, output, _ = plan(file, "--gpu", "24GiB")
    assert code == 0
    assert f"tulu serve {file}" in output
    assert "vllm serve" not in output


def test_a_release_that_is_newer_than_the_rules_is_said() -> None:
    code, output, errors = plan("8b", "--gpu", "h100", "--vllm-version", "9.1", "--json")
    found = json.loads(output)
    assert code == 0
    assert (found["vllm_version"], found["planned_as"]) == ("9.1.0", "0.33.0")
    assert errors == ("tulu: vLLM 9.1.0 is newer than any release known here: planned as 0.33.0.\n")
    assert plan("8b", "--gpu", "h100", "--vllm-version", "0.33.0")[2] == ""


def test_the_headers_of_a_directory_are_the_weights(demo_directory: Path) -> None:
    _, output, _ = plan(str(demo_directory), "--gpu", "24GiB", "--json")
    by_headers = json.loads(output)["ranks"][0]["weights"]
    files = sum(path.stat().st_size for path in demo_directory.glob("*.safetensors"))
    assert by_headers == pytest.approx(files, rel=0.05)


LOG = """\
(EngineCore pid=9) INFO [core.py:117] Initializing a V1 LLM engine (v0.28.0) with config: \
model='org/name', dtype=torch.bfloat16, max_seq_len=4096, tensor_parallel_size=1, \
pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto
(EngineCore pid=9) INFO [model_runner.py:306] Model loading took 14.99 GiB and 5.0 seconds
(EngineCore pid=9) INFO [gpu_worker.py:561] Available KV cache memory: 25.2 GiB
(EngineCore pid=9) INFO [kv_cache_utils.py:2177] GPU KV cache size: 206,432 tokens
"""


def test_a_log_is_laid_beside_the_plan_of_its_own_settings(tmp_path: Path) -> None:
    file = tmp_path / "start.log"
    file.write_text(LOG)
    code, output, errors = plan("8b", "--gpu", "l40s", "--log", str(file))
    assert (code, errors) == (0, "")
    assert output.splitlines()[0] == "8b on 1 x L40S, vLLM 0.28.0, beside a log:"
    assert "weights          14.99 GiB  14.99 GiB      +0.0 %" in output
    assert "compiled kernels were in the cache, it seems" in output
    assert output.splitlines()[-1] == "By the log, it started; by the plan, it fits."


def test_a_flag_wins_over_the_log_and_a_setting_does_not(tmp_path: Path) -> None:
    file = tmp_path / "start.log"
    file.write_text(LOG)

    def planned(*arguments: str, **variables: str) -> Any:
        done = tulu(
            "plan", "8b", "--gpu", "l40s", "--log", str(file), "--json", *arguments, env=variables
        )
        return json.loads(done.stdout)

    assert planned()["plan"]["max_model_len"] == 4096
    assert planned(TULU_MAX_MODEL_LEN="2048")["plan"]["max_model_len"] == 4096
    assert planned("--max-model-len", "2048")["plan"]["max_model_len"] == 2048
    assert planned("-tp", "4")["plan"]["gpus"] == 4
    assert planned("--vllm-version", "0.32.0")["vllm_version"] == "0.32.0"


def test_a_log_from_stdin_as_json() -> None:
    done = tulu("plan", "8b", "--gpu", "l40s", "--log", "-", "--json", stdin=LOG.encode())
    document = json.loads(done.stdout)
    assert done.returncode == 0
    figures = {row["name"]: row for row in document["figures"]}
    assert figures["KV cache tokens"]["log"] == 206_432
    assert figures["weights"]["in_bytes"] is True
    assert (document["ended"], document["agrees"]) == ("it started", True)
    assert document["plan"]["gpu"]["name"] == "L40S"


def test_the_memory_of_the_gpu_is_that_of_the_log_unless_a_size_is_given() -> None:
    line = (
        "Free memory on device (22.0/23.5 GiB) on startup. Desired GPU memory utilization is (0.9"
    )
    log = f"{LOG}{line}\n".encode()

    def total(*arguments: str) -> float:
        done = tulu("plan", "8b", *arguments, "--log", "-", "--json", stdin=log)
        return float(json.loads(done.stdout)["plan"]["gpu"]["total_bytes"]) / 2**30

    assert total() == pytest.approx(23.5)
    assert total("--gpu", "l4") == pytest.approx(23.5)
    assert total("--gpu", "24GiB") == 24
    assert total("--gpu", "l4@24GiB") == 24


@pytest.mark.parametrize(
    ("arguments", "log", "code", "problem"),
    [
        (("8b", "--log", "-"), LOG, 2, "does not print the memory of a GPU"),
        (("8b", "--gpu", "l4", "--log", "-"), "hello", 65, "no figure of vLLM's memory"),
        (("8b", "--gpu", "l4", "--log", "no-such-file"), "", 65, "cannot be read"),
        (("--log", "-"), LOG, 2, "--log takes one MODEL"),
        (("8b", "--gpu", "l4", "--log", "-", "--find", "gpus"), LOG, 2, "--log takes one MODEL"),
        (("8b", "--gpu", "l4", "--log", "-", "--engine", "transformers"), LOG, 2, "--engine vllm"),
    ],
)
def test_a_log_that_cannot_be_compared(
    arguments: tuple[str, ...], log: str, code: int, problem: str
) -> None:
    done = tulu("plan", *arguments, stdin=log.encode())
    assert done.returncode == code
    assert problem in done.stderr.decode()
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-dp", "4", "--gpu", "h100:8"), {"tensor_parallel_size": 2, "data_parallel_size": 4}),
        (
            ("-dp", "2", "--gpu", "h100:8", "--nodes", "2"),
            {"tensor_parallel_size": 8, "pipeline_parallel_size": 1, "data_parallel_size": 2},
        ),
        (
            ("-dp", "4", "--gpu", "h100:8", "--nodes", "2"),
            {"tensor_parallel_size": 4, "pipeline_parallel_size": 1, "data_parallel_size": 4},
        ),
        (("-dp", "2", "-tp", "4", "--gpu", "h100"), {"gpus": 8}),
        (("--usage-context", "llm", "--gpu", "h100"), {"max_num_batched_tokens": 16384}),
    ],
)
def test_the_settings_of_the_plan(arguments: tuple[str, ...], expected: dict[str, int]) -> None:
    code, output, _ = plan("8b", "--json", *arguments)
    document = json.loads(output)
    assert code == 0
    assert {name: document[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-dp", "3", "--gpu", "h100:8"), "3 replicas cannot share 8 GPUs evenly"),
        (("-dp", "3", "--gpu", "h100:2", "--nodes", "2"), "-replicas 3 cannot share 2 machines"),
        (("-dp", "3", "-tp", "2", "--gpu", "h100:4", "--nodes", "2"), "cannot share 2 machines"),
        (("-tp", "16", "--gpu", "h100:8", "--nodes", "2"), "-tp 16 -pp 2 needs 32 GPUs, and there"),
        (("-dp", "4", "-tp", "4", "--gpu", "h100:8"), "-tp 4 -pp 1 -dp 4 needs 16 GPUs"),
        (("--enable-expert-parallel", "--gpu", "h100"), "models with experts"),
        (("--usage-context", "web", "--gpu", "h100"), "--usage-context takes one of server, llm"),
        (("--cpu-offload-gb", "1", "--gpu", "h100", "--engine", "transformers"), "--engine vllm"),
    ],
)
def test_settings_that_do_not_go_together(arguments: tuple[str, ...], problem: str) -> None:
    code, output, errors = plan("8b", *arguments)
    assert (code, output) == (2, "")
    assert problem in errors


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_the_weights_of_an_unknown_architecture_are_counted_alone(
    engine: str, demo_directory: Path, tmp_path: Path
) -> None:
    for path in demo_directory.iterdir():
        (tmp_path / path.name).symlink_to(path)
    config = json.loads((demo_directory / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    config["architectures"] = ["NovelForCausalLM"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    novel = (str(tmp_path), "--engine", engine)
    code, output, _ = plan(*novel, "--gpu", "24GiB")
    assert code == 0
    assert "KV cache of NovelForCausalLM unknown: only weights can be counted" in output
    code, output, _ = plan(*novel, "--gpu", "24GiB", "--json")
    found = json.loads(output)
    files = sum(path.stat().st_size for path in demo_directory.glob("*.safetensors"))
    assert found["verdict"] == "unknown"
    assert found["weights_bytes"] == pytest.approx(files, rel=0.05)
    code, _, errors = plan(*novel, "--gpu", "0.01GiB")
    assert (code, "does not fit: its weights are" in errors) == (3, True)
    if engine == "vllm":
        code, _, errors = plan(*novel, "--gpu", "24GiB", "--find", "gpus")
        assert (code, "only weights can be counted" in errors) == (1, True)
    for left_out in (("--nodes", "2"), ("--adapter", "no/where")):
        code, output, errors = plan(*novel, "--gpu", "24GiB", *left_out)
        assert (code, output) == (1, "")
        assert errors.endswith(f"only weights can be counted. Leave {left_out[0]} out.\n")
