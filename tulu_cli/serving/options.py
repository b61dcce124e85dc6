"""`tulu serve`: what the command line asks for, understood."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tulu_cli.errors import NoEngine, UsageError
from tulu_cli.loading import LoadOptions
from tulu_cli.loading.engine_args import check_engine_args
from tulu_cli.machine import Machine, install


@dataclass(frozen=True)
class ServeOptions:
    """The options of a server: a private one, or with a `host` one on its `port`.

    With `nodes` or `replicas`, a script is asked for, and no server of this process. `ray` is the
    address of a Ray cluster.
    """

    load: LoadOptions
    detach: bool = False
    host: str | None = None
    port: int = 8000
    api_key_file: str | None = None
    nodes: int | None = None
    replicas: int | None = None
    ray: str | None = None

    @property
    def is_printed(self) -> bool:
        """True if a script is asked for."""
        return self.nodes is not None or self.replicas is not None

    @property
    def printing(self) -> str:
        """The option that asks for a script."""
        return "--nodes" if self.nodes is not None else "--replicas"

    @property
    def engine_args(self) -> Mapping[str, Any]:
        """The engine's arguments, with what --ray stands for."""
        own = self.load.engine_args
        return own if self.ray is None else {**own, "distributed_executor_backend": "ray"}

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment in which the engine finds its Ray cluster."""
        return {} if self.ray is None else {"RAY_ADDRESS": self.ray}


def check_combinations(chosen: ServeOptions) -> None:
    """Raise UsageError for options that contradict one another."""
    if chosen.host is None and chosen.api_key_file is not None:
        raise UsageError("--api-key-file goes with --host: a private socket needs no key.")
    if chosen.host is not None and chosen.detach:
        raise UsageError("--host runs in the foreground: --detach is for a private engine.")
    if chosen.host is not None and chosen.load.settings.is_flag("keep_alive"):
        raise UsageError("--keep-alive is for a private engine: one with --host stays.")
    if chosen.ray == "":
        raise UsageError("--ray takes the address of a Ray cluster, such as auto or HOST:PORT.")
    if chosen.ray is not None:
        check_engine_args(chosen.load.engine_args, "ray")
    if not chosen.is_printed:
        check_engine_args(chosen.load.engine_args, "warm" if chosen.host is None else "port")


def check_engine(chosen: ServeOptions, engine: str, machine: Machine) -> None:
    """Raise UsageError for what only vLLM does, NoEngine if Ray is asked for and missing."""
    if chosen.ray is not None and engine != "vllm":
        raise UsageError(f"--ray needs --engine vllm: {engine} runs on one machine.")
    if chosen.ray is not None and "ray" not in machine.packages:
        raise NoEngine(f"--ray needs Ray, which vLLM does not bring ({install('ray')}).")
