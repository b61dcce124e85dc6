"""The shell script that serves a model on several machines, or as several replicas.

It follows serving/data_parallel_deployment.md and serving/parallelism_scaling.md of vLLM's
documentation, and how vLLM 0.30 to 0.33 read these options (create_engine_config in
engine/arg_utils.py; entrypoints/cli/serve.py).
"""

import shlex
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from tulu_cli.engines.vllm.settings import serve_arguments
from tulu_cli.plan.sharding import Layout, spread
from tulu_cli.serving.public import KEY_VARIABLE

# vLLM's and Ray's own ports, written out because firewalls have to let them through.
_SPREAD = "VLLM_RAY_DP_PACK_STRATEGY"  # a replica may then be on several of Ray's machines
_MASTER_PORT, _RPC_PORT, _RAY_PORT = 29501, 29550, 6379
_INSTALL_RAY = "pip install ray"  # vLLM's own words, in v1/executor/ray_utils.py
# In one shell command with the server, so that none starts without its key. With an empty one vLLM
# would ask for none.
_KEY = f"""\
{KEY_VARIABLE}="$(cat "${{KEYFILE:?set it to the file with the API key}}")" &&
export {KEY_VARIABLE}="${{{KEY_VARIABLE}:?the file with the API key is empty}}" &&
"""
_FIRST = '"${FIRST:?set it to the address of the first machine}"'
_RANK = '"${RANK:?set it to 0 on the first machine, to 1 on the next, and so on}"'


class Deployment(NamedTuple):
    """Replicas of a model on so many machines, each divided as the layout says.

    `has_experts` is True for a model with experts (MoE), which its replicas share.
    """

    machines: int
    layout: Layout
    has_experts: bool = False

    @property
    def replicas(self) -> int:
        """The replicas on all machines."""
        return self.layout.data

    @property
    def spanned(self) -> int:
        """The machines that each replica is divided over."""
        return spread(self.replicas, self.machines)[0]

    @property
    def local(self) -> int:
        """The replicas on each machine, 1 where one is divided over several machines."""
        return spread(self.replicas, self.machines)[1]

    @property
    def gpus(self) -> int:
        """The GPUs that each machine needs."""
        return self.layout.gpus // self.machines

    @property
    def server(self) -> "Deployment":
        """The part that is one server: all of it, unless replicas are independent.

        Replicas of a model without experts are, and those of several machines then are servers
        of their own, as vLLM's documentation advises.
        """
        if self.has_experts or self.machines == 1 or self.replicas == 1:
            return self
        return self._replace(machines=self.spanned, layout=self.layout._replace(data=self.local))


def deployment_script(
    model: str,
    arguments: Mapping[str, Any],
    deployment: Deployment,
    port: int,
    ray: str | None = None,
) -> str:
    """Return a shell script that serves a model, with comments.

    `arguments` are the engine's; they win over those of ours that no layout needs. Each machine
    runs the script. With the address of a Ray cluster in `ray`, one machine runs it for all.
    """
    server = deployment if ray is not None else deployment.server
    told = {"model": model, **_DEFAULTS, **arguments, **shared_arguments(server, port)}
    text = _comment(_head(model, deployment))
    if ray is not None:
        return text + _over_ray(told | ray_arguments(deployment), deployment, port, ray)
    serve = shlex.join(["vllm", "serve", *serve_arguments(told)])
    if server != deployment:
        text += _comment(_separate(server))
    if server.machines == 1:
        text += _comment(_SET_KEY)
        text += f"{_KEY}{serve}\n"
    else:
        others = f'$([ "$RANK" = 0 ] || echo {" ".join(other_flags(server))})'
        text += _comment(_SET_RANKS)
        # Without a rank, a machine of replicas would stand for the first ones once more.
        ranked = f": {_RANK} &&\n" if server.spanned == 1 else ""
        text += f"{_KEY}{ranked}{serve} {' '.join(node_flags(server))} {others}\n"
    text += _comment(_ASK) + f"# {_request(port)}"
    if server != deployment:
        text += _comment(_SHARE) + f"# tulu batch {_servers(port)} rows.jsonl\n"
    elif server.machines > 1 and server.spanned == 1:
        flags = [*node_flags(server), *hybrid_flags(server)]
        key = _KEY.replace("\n", " ")
        text += _comment(_BOTTLENECK) + f"# {key}{serve} {' '.join(flags)}\n"
    return text


_SET_RANKS = (
    "Set FIRST to the address of the first machine of a server, RANK to 0 there and to 1, 2 and so "
    "on on its others, and KEYFILE to the file with the API key; then paste this on each of them."
)
_SET_KEY = "Set KEYFILE to the file with the API key; then paste this where the server is to run."
_ASK = "Then, from anywhere, with the address of a server's first machine for FIRST:"
_SHARE = "All servers together, as a router before them would share them too:"
_BOTTLENECK = (
    "With many machines the first one is a bottleneck, as it takes all requests. Then let each "
    "take some, with a router before them, by pasting this line instead:"
)


def _over_ray(told: Mapping[str, Any], deployment: Deployment, port: int, ray: str) -> str:
    serve = shlex.join(["vllm", "serve", *serve_arguments(dict(told))])
    # `auto` names no machine, and ray:// is where Ray's clients come, not its machines.
    is_port = ":" in ray and "://" not in ray
    address = shlex.quote(ray) if is_port else f"FIRST:{_RAY_PORT}"
    spanning = f"{_SPREAD}=span " if deployment.spanned > 1 < deployment.replicas else ""
    return (
        f"# On every machine, beside vLLM, which does not bring it: {_INSTALL_RAY}\n"
        f"# On the first, if no cluster runs yet: ray start --head --port={_RAY_PORT}\n"
        f"# On every other, to join it: ray start --address={address}\n"
        f"{_comment(_SET_KEY)}"
        f"{_KEY}RAY_ADDRESS={shlex.quote(ray)} {spanning}{serve}\n"
        f"{_comment(_ASK)}"
        f"# {_request(port)}"
    )


# Sampling parameters are the requests' own, and their answers count what of a prompt was cached.
_DEFAULTS = {"generation_config": "vllm", "enable_prompt_tokens_details": True}


def shared_arguments(server: Deployment, port: int) -> dict[str, Any]:
    """Return the engine's arguments that are the same on all machines of a server."""
    tensor, pipeline, replicas, _ = server.layout
    some_each = server.machines > 1 and server.spanned == 1
    return {
        "tensor_parallel_size": tensor,
        "pipeline_parallel_size": pipeline if pipeline > 1 else None,
        "data_parallel_size": replicas if replicas > 1 else None,
        "data_parallel_size_local": server.local if some_each and replicas > 1 else None,
        "port": port,
    }


def ray_arguments(deployment: Deployment) -> dict[str, Any]:
    """Return the engine's arguments for a cluster that Ray manages."""
    return {
        "distributed_executor_backend": "ray",
        "data_parallel_backend": "ray" if deployment.replicas > 1 else None,
    }


def node_flags(server: Deployment) -> list[str]:
    """Return the options of each machine of a server of several, as words of shell."""
    if server.spanned == 1:
        start = ["--data-parallel-address", _FIRST]
        return [*start, "--data-parallel-rpc-port", str(_RPC_PORT)]
    rank = ["--nnodes", str(server.machines), "--node-rank", _RANK]
    return [*rank, "--master-addr", _FIRST, "--master-port", str(_MASTER_PORT)]


def other_flags(server: Deployment) -> list[str]:
    """Return the options of every machine but the first, as words of shell.

    The first has no start rank: with one vLLM lets each machine take requests of its own.
    """
    if server.spanned > 1:
        return ["--headless"]
    return ["--headless", "--data-parallel-start-rank", f"$((RANK * {server.local}))"]


def hybrid_flags(server: Deployment) -> list[str]:
    """Return the options with which each machine takes requests for its own replicas."""
    start = ["--data-parallel-start-rank", f"$(({_RANK[1:-1]} * {server.local}))"]
    return ["--data-parallel-hybrid-lb", *start]


def _head(model: str, deployment: Deployment) -> str:
    tensor, pipeline, replicas, _ = deployment.layout
    parts = [f"{replicas} replicas"] if replicas > 1 else []
    parts += [f"tensor parallel {tensor}"] if tensor > 1 else []
    parts += [f"pipeline parallel {pipeline}"] if pipeline > 1 else []
    machines, gpus = deployment.machines, deployment.gpus
    each = f"{gpus} GPU{'s' * (gpus > 1)}{' each' * (machines > 1)}"
    return f"{model} on {_machines(machines)} with {each}: {', '.join(parts)}."


def _separate(server: Deployment) -> str:
    each = (
        "each machine is a server of its own"
        if server.machines == 1
        else f"each {server.machines} machines are a server of their own"
    )
    return (
        "The model has no experts, so that its replicas need nothing of one another: "
        f"{each}, as vLLM's documentation advises."
    )


def _machines(count: int) -> str:
    return "1 machine" if count == 1 else f"{count} machines"


def _request(port: int) -> str:
    return (
        f'{KEY_VARIABLE}="$(cat KEYFILE)" tulu complete --server http://FIRST:{port} '
        f'--api-key-env {KEY_VARIABLE} "Hello"\n'
    )


def _servers(port: int) -> str:
    return f"--server http://FIRST:{port} --server http://NEXT:{port} --api-key-env {KEY_VARIABLE}"


def _comment(text: str) -> str:
    """Return a paragraph as lines of comment, which no text in it can end."""
    filled = textwrap.fill(
        " ".join(text.split()),
        98,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{filled}\n"
