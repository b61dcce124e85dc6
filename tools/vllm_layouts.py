"""Ask each supported release of vLLM how it reads our scripts: python -m tools.vllm_layouts.

The scripts of `tulu serve --nodes` and `--replicas` are run by a shell, as each machine runs them,
with a `vllm` that only notes its arguments. The release's own parser and config classes then read
these: they are pure Python, which runs from the .py files of a wheel, on the platform of CPUs. For
what runs over Ray they want Ray to be installed. Wheels come as in tools.vllm_names; those that are
here already may be given as arguments.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tools.vllm_names import ROOT, fetched
from tulu_cli.errors import TuluError
from tulu_cli.plan.sharding import Layout
from tulu_cli.serving.deployment import Deployment, deployment_script

RAY = "10.0.0.1:6379"
_FACTS = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "data_parallel_size_local",
    "data_parallel_rank",
    "data_parallel_hybrid_lb",
    "data_parallel_external_lb",
    "data_parallel_backend",
    "distributed_executor_backend",
    "nnodes_within_dp",
    "node_rank_within_dp",
)
# A model with experts, as small as one can be, and the same without them.
_MODEL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 8,
    "num_hidden_layers": 4,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}
_PLAIN = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_local_experts": None}
_NOTE = '#!/bin/sh\nfor word; do printf \'%s\\0\' "$word"; done > "$NOTED"\n'


class Form(NamedTuple):
    """A form of our script, and what a release has to make of it on each machine of a server.

    `facts` are values of vLLM's ParallelConfig by their names, for each machine.
    """

    deployment: Deployment
    facts: tuple[dict[str, Any], ...]
    ray: str | None = None


def _each(common: dict[str, Any], **by_machine: list[Any]) -> tuple[dict[str, Any], ...]:
    machines = len(next(iter(by_machine.values())))
    return tuple(
        common | {name: values[index] for name, values in by_machine.items()}
        for index in range(machines)
    )


FORMS = {
    "one server on two machines": Form(
        Deployment(2, Layout(8, 2)),
        _each(
            {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "nnodes_within_dp": 2},
            node_rank_within_dp=[0, 1],
        ),
    ),
    "replicas on one machine": Form(
        Deployment(1, Layout(2, 1, 4)),
        _each({"data_parallel_size": 4, "data_parallel_size_local": 4}, data_parallel_rank=[0]),
    ),
    "two servers with two replicas": Form(
        Deployment(2, Layout(4, 1, 4)),
        _each({"data_parallel_size": 2, "data_parallel_size_local": 2}, data_parallel_rank=[0]),
    ),
    "two servers of two machines": Form(
        Deployment(4, Layout(8, 2, 2)),
        _each({"data_parallel_size": 1, "nnodes_within_dp": 2}, node_rank_within_dp=[0, 1]),
    ),
    "experts on two machines": Form(
        Deployment(2, Layout(4, 1, 4), has_experts=True),
        _each(
            {"data_parallel_size": 4, "data_parallel_size_local": 2, "nnodes_within_dp": 1}
            | {"data_parallel_hybrid_lb": False, "data_parallel_external_lb": False},
            data_parallel_rank=[0, 2],
        ),
    ),
    "experts, replicas of two machines": Form(
        Deployment(4, Layout(8, 2, 2), has_experts=True),
        _each(
            {"data_parallel_size": 2, "data_parallel_size_local": 1, "nnodes_within_dp": 2}
            | {"data_parallel_hybrid_lb": False, "data_parallel_external_lb": False},
            data_parallel_rank=[0, 0, 1, 1],
            node_rank_within_dp=[0, 1, 0, 1],
        ),
    ),
    "over Ray": Form(
        Deployment(2, Layout(8, 2)),
        _each(
            {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "data_parallel_size": 1}
            | {"distributed_executor_backend": "ray", "nnodes_within_dp": 1},
            node_rank_within_dp=[0],
        ),
        RAY,
    ),
    "replicas over Ray": Form(
        Deployment(2, Layout(4, 1, 4), has_experts=True),
        _each(
            {"tensor_parallel_size": 4, "data_parallel_size": 4, "nnodes_within_dp": 1}
            | {"distributed_executor_backend": "ray", "data_parallel_backend": "ray"},
            data_parallel_rank=[0],
        ),
        RAY,
    ),
}
HYBRID = _each(
    {"data_parallel_size": 4, "data_parallel_size_local": 2, "data_parallel_hybrid_lb": True},
    data_parallel_rank=[0, 2],
)


def scripts(folder: Path) -> Iterator[tuple[str, str, Form]]:
    """Yield each form's script, and the line in a comment that may stand for its command."""
    for name, form in FORMS.items():
        model = write_model(folder, has_experts=form.deployment.has_experts)
        script = deployment_script(
            str(model), {"max_model_len": 256}, form.deployment, 8000, form.ray
        )
        yield name, script, form
        if "--data-parallel-hybrid-lb" in script:
            (line,) = (line for line in script.splitlines() if "hybrid" in line)
            other = line.removeprefix("# ")
            yield f"{name}, each for itself", other, form._replace(facts=HYBRID)


def write_model(folder: Path, *, has_experts: bool) -> Path:
    """Write the config of a small model, and return its folder."""
    made = folder / ("experts" if has_experts else "plain")
    made.mkdir(exist_ok=True)
    config = _MODEL if has_experts else _MODEL | _PLAIN
    (made / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return made


def arguments_of(script: str, rank: int, folder: Path) -> list[str]:
    """Return the arguments of `vllm serve` on one machine, as a shell makes them of a script."""
    (folder / "bin").mkdir(exist_ok=True)
    program, noted = folder / "bin" / "vllm", folder / "noted"
    program.write_text(_NOTE)
    program.chmod(0o755)
    (folder / "key").write_text("secret\n")
    given = {"RANK": str(rank), "FIRST": "10.0.0.1", "KEYFILE": str(folder / "key")}
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    env = given | {"PATH": path, "NOTED": str(noted)}
    subprocess.run(["sh", "-eu", "-c", script], env=env, check=True)
    command, *words = noted.read_text(encoding="utf-8").split("\0")[:-1]
    if command != "serve":
        raise ValueError(f"the script runs vllm {command}")
    return words


def asked(folder: Path) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """Yield the arguments of each machine of each form, with what is to be made of them."""
    for name, script, form in scripts(folder):
        for rank, facts in enumerate(form.facts):
            yield f"{name}, machine {rank}", arguments_of(script, rank, folder), facts


def read(arguments: list[str]) -> dict[str, Any]:
    """Return what the vLLM that can be imported here makes of arguments. Raise what it raises."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    from tulu_cli.serving.vllm_server import parsed

    args = parsed(arguments)
    config = AsyncEngineArgs.from_cli_args(args).create_engine_config(
        usage_context=UsageContext.OPENAI_API_SERVER, headless=args.headless
    )
    return {name: getattr(config.parallel_config, name) for name in _FACTS}


def differences(found: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Return what differs from the facts, such as "nnodes_within_dp is 1, not 2"."""
    return [
        f"{name} is {found[name]}, not {value}"
        for name, value in facts.items()
        if found[name] != value
    ]


def check() -> int:
    """Print what the vLLM that can be imported here makes of every form, and count the problems."""
    problems = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments, facts in asked(Path(folder)):
            try:
                wrong = differences(read(arguments), facts)
            except (AssertionError, RuntimeError, TuluError, ValueError) as error:
                wrong = [f"{type(error).__name__}: {error}"]
            problems += bool(wrong)
            print(f"  {name}: {'; '.join(wrong) or 'as meant'}", flush=True)
    return problems


def main(wheels: list[str]) -> int:
    """Ask each release in a process of its own."""
    problems = 0
    for wheel in map(Path, wheels) if wheels else fetched():
        print(wheel.name.rpartition("-cp")[0], flush=True)
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(wheel) as packed:
                names = [name for name in packed.namelist() if name.endswith((".py", "METADATA"))]
                packed.extractall(folder, names)
            env = os.environ | {"VLLM_TARGET_DEVICE": "cpu", "VLLM_LOGGING_LEVEL": "ERROR"}
            env["PYTHONPATH"] = os.pathsep.join([folder, str(ROOT)])
            child = [sys.executable, "-P", "-m", "tools.vllm_layouts", "--here"]
            problems += subprocess.run(child, env=env, check=False).returncode
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(check() if sys.argv[1:] == ["--here"] else main(sys.argv[1:]))
