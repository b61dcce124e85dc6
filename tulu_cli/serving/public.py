"""A server on a port: its key, its address, vLLM's own options for it, and several machines."""

import errno
import ipaddress
import shlex
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.vllm.settings import engine_arguments, lora_options, serve_arguments
from tulu_cli.errors import BadInput, TuluError, UsageError

KEY_VARIABLE = "VLLM_API_KEY"
_GUARD = "tulu_cli.serving.guard.VllmGuard"
INSTALL_RAY = "pip install ray"  # vLLM's own words, in v1/executor/ray_utils.py
_RAY_PORT = 6379


def read_key(file: str | None, host: str) -> str | None:
    """Return the key of a file, None without one, which only this machine may do without.

    Raise UsageError for another address, BadInput if others can read the file.
    """
    if file is None and is_loopback(host):
        return None
    if file is None:
        raise UsageError(
            f"--host {host} opens the server to others: name a file with the key that they need "
            "by --api-key-file."
        )
    path = Path(file)
    try:
        mode, key = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--api-key-file {file!r} cannot be read: {error}.") from error
    if stat.S_IMODE(mode) & 0o077:
        raise BadInput(f"--api-key-file {file!r} is open to other users: chmod 600 it.")
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise BadInput(f"--api-key-file {file!r} must hold one word of ASCII characters.")
    return key


def is_loopback(host: str) -> bool:
    """Return True for an address that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound(host: str, port: int) -> socket.socket:
    """Return a socket at an address, which does not listen yet.

    Raise TuluError for a port that is taken, or an address that this machine does not have.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host} is not an address: {reason_of(error)}.") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise TuluError(
                f"Port {port} of {host} is in use: --port names another one."
            ) from error
        raise TuluError(f"Port {port} of {host} cannot be had: {reason_of(error)}.") from error
    return made


def reason_of(error: OSError) -> str:
    """Return what the system says of an error."""
    return (error.strerror or str(error)).rstrip(".")


def url_of(host: str, port: int) -> str:
    """Return the URL of a server; an IPv6 address stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def served_names(name: str, alias: str | None) -> tuple[str, ...]:
    """Return the names of a model for its clients: its own, and one that the user has for it.

    A path of this machine is nobody else's business.
    """
    is_path = alias is None or alias.startswith(("/", ".", "~"))
    return (name,) if alias is None or is_path or alias == name else (name, alias)


def public_arguments(spec: EngineSpec, host: str, port: int, alias: str | None = None) -> list[str]:
    """Return the options of vLLM's server, without the key, which `ps` would show."""
    server = {
        "served_model_name": served_names(spec.name, alias),
        "host": host,
        "port": port,
        "uvicorn_log_level": "warning",
        "disable_fastapi_docs": True,
        "enable_prompt_tokens_details": True,
        "allowed_origins": [],
        # vLLM's own key guards /v1 alone.
        "middleware": _GUARD,
    }
    options = serve_arguments(engine_arguments(spec) | server)
    return [*options, *lora_options(spec.adapters)]


def cluster_commands(
    model: str, arguments: Mapping[str, Any], nodes: int, gpus: int, port: int
) -> str:
    """Return the commands that serve a model on several machines, as a commented script.

    `arguments` are the engine's. Tensor parallelism is over the `gpus` GPUs of a machine, which are
    near, and pipeline parallelism over the `nodes` machines, which are far.
    """
    fixed = {
        "tensor_parallel_size": gpus,
        "pipeline_parallel_size": nodes,
        "distributed_executor_backend": "ray",
        "generation_config": "vllm",
        "enable_prompt_tokens_details": True,
        "port": port,
    }
    serve = shlex.join(["vllm", "serve", *serve_arguments({"model": model, **arguments, **fixed})])
    others = "the other machine" if nodes == 2 else f"each of the other {nodes - 1} machines"
    return f"""\
# On every machine, beside vLLM, which does not bring it: {INSTALL_RAY}
# On the first machine:
ray start --head --port={_RAY_PORT}
# On {others}, FIRST being the address of the first one:
ray start --address=FIRST:{_RAY_PORT}
# On the first machine, when all have joined ({nodes} x {gpus} GPUs), with the key in KEYFILE:
RAY_ADDRESS=auto {KEY_VARIABLE}="$(cat KEYFILE)" {serve}
# From anywhere:
{KEY_VARIABLE}="$(cat KEYFILE)" tulu complete --server http://FIRST:{port} \
--api-key-env {KEY_VARIABLE} "Hello"
"""
