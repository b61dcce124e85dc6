"""vLLM's own OpenAI server on an address that others can reach, on one machine or on several."""

import hmac
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.vllm.settings import engine_arguments, lora_options, serve_arguments
from tulu_cli.errors import BadInput, UsageError

KEY_VARIABLE = "VLLM_API_KEY"
_GUARD = "tulu_cli.serving.public.RequireKey"
INSTALL_RAY = "pip install ray"  # vLLM's own words, in v1/executor/ray_utils.py
_RAY_PORT = 6379


def read_key(file: str | None) -> str:
    """Return the key of a file. Raise UsageError without one, BadInput if others can read it."""
    if file is None:
        raise UsageError(
            "--host opens the server to others: name a file with the key that they need by "
            "--api-key-file."
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


def public_arguments(spec: EngineSpec, host: str, port: int) -> list[str]:
    """Return the options of vLLM's server, without the key, which `ps` would show."""
    server = {
        "served_model_name": spec.name,
        "host": host,
        "port": port,
        "uvicorn_log_level": "warning",
        "disable_fastapi_docs": True,
        "enable_prompt_tokens_details": True,
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


_OPEN = ("/health",)


class RequireKey:
    """ASGI middleware that requires `Authorization: Bearer KEY` on every path but /health.

    vLLM's own check covers /v1 alone, and leaves /tokenize, /metrics and others open.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._wanted = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on if it has the key; otherwise answer 401."""
        if scope["type"] == "lifespan" or scope["path"] in _OPEN or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        body = b'{"error": {"message": "The key is missing or wrong", "type": "Unauthorized"}}'
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _has_key(self, scope: Any) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._wanted)
