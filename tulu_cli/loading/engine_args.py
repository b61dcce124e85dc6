"""What --engine-arg may not give, as an option of ours, or tulu itself, gives it to the engine."""

from collections.abc import Iterable, Mapping
from typing import Literal

from tulu_cli.errors import UsageError

# How an engine is run: in any way, kept warm, on a port, by a printed script, or over Ray.
Way = Literal["any", "warm", "port", "script", "ray"]

_SCRIPTS = "is what the script sets itself: leave it out"
_WARM = "is what tulu sets itself where an engine is kept warm: leave it out"
_PORT = "contradicts --host and --port: leave it out"

# The engine's arguments that are taken, by the way that it is run, and what is said of each.
TAKEN: Mapping[Way, Mapping[str, str]] = {
    "any": {"model": "contradicts the model that is named: leave it out"},
    "warm": {
        "api_key": _WARM,
        "disable_fastapi_docs": _WARM,
        "disable_uvicorn_access_log": _WARM,
        "enable_prompt_tokens_details": _WARM,
        "enable_server_load_tracking": _WARM,
        "host": _WARM,
        "middleware": _WARM,
        "port": _WARM,
        "served_model_name": _WARM,
        "uds": _WARM,
        "uvicorn_log_level": _WARM,
    },
    "port": {
        "api_key": "contradicts --api-key-file: leave it out",
        "host": _PORT,
        "middleware": _PORT,
        "port": _PORT,
        "uds": _PORT,
    },
    "script": {
        "api_key": _SCRIPTS,
        "data_parallel_address": _SCRIPTS,
        "data_parallel_backend": _SCRIPTS,
        "data_parallel_external_lb": _SCRIPTS,
        "data_parallel_hybrid_lb": _SCRIPTS,
        "data_parallel_rank": _SCRIPTS,
        "data_parallel_rpc_port": _SCRIPTS,
        "data_parallel_size": "contradicts the script: give --replicas instead",
        "data_parallel_size_local": _SCRIPTS,
        "data_parallel_start_rank": _SCRIPTS,
        "distributed_executor_backend": "contradicts the script: give --ray instead",
        "headless": _SCRIPTS,
        "master_addr": _SCRIPTS,
        "master_port": _SCRIPTS,
        "nnodes": "contradicts the script: give --nodes instead",
        "node_rank": _SCRIPTS,
        "pipeline_parallel_size": "contradicts the script: give -pp instead",
        "port": "contradicts the script: give --port instead",
        "tensor_parallel_size": "contradicts the script: give -tp instead",
        "uds": "contradicts the script: give --port instead",
    },
    "ray": {"distributed_executor_backend": "contradicts --ray: leave it out"},
}


def check_engine_args(given: Iterable[str], way: Way) -> None:
    """Raise UsageError for the first of these arguments, by name, that is taken in that way."""
    taken = {**TAKEN["any"], **TAKEN[way]}
    for name in given:
        if name in taken:
            raise UsageError(f"--engine-arg {name} {taken[name]}.")
