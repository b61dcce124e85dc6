"""A server on a port: its key, its address, and vLLM's own options for it."""

import errno
import ipaddress
import socket
import stat
from pathlib import Path
from typing import Any

from tulu_cli.engines.base import EngineSpec
from tulu_cli.engines.vllm.settings import engine_arguments, lora_options, serve_arguments
from tulu_cli.errors import BadInput, TuluError, UsageError

KEY_VARIABLE = "VLLM_API_KEY"
_GUARD = "tulu_cli.serving.guard.VllmGuard"


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
    """Return the options of vLLM's server, without the key, which `ps` would show.

    The user's own arguments win over ours, but for the address, the port and the guard.
    """
    server: dict[str, Any] = {
        "served_model_name": served_names(spec.name, alias),
        "uvicorn_log_level": "warning",
        "disable_fastapi_docs": True,
        "enable_prompt_tokens_details": True,
        "allowed_origins": [],
    }
    # vLLM's own key guards /v1 alone.
    fixed = {"host": host, "port": port, "middleware": _GUARD}
    options = serve_arguments(server | engine_arguments(spec) | fixed)
    return [*options, *lora_options(spec.adapters)]
