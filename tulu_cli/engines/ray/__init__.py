"""Workers on Ray: engines of ours in processes that a cluster places, on one machine or on many.

`cluster.py` reaches the cluster, `engine.py` is a worker as its driver sees it, and `actor.py` is
what runs in the worker's process. `order.py` is what the one sends and the other loads, with
`files.py` for its models.
"""

from dataclasses import dataclass

from tulu_cli.errors import UsageError
from tulu_cli.machine import Machine, install


@dataclass(frozen=True, slots=True)
class RayOptions:
    """Which cluster, and how it is shared among workers.

    `address` is HOST:PORT, "local" for a cluster of this machine alone, which lives as long as the
    command, or "auto": the cluster that this machine is part of, or else "local". None of `workers`
    are as many as there is room for, and None of `gpus_per_worker` as many as the model is split
    over.
    """

    address: str
    workers: int | None = None
    gpus_per_worker: int | None = None


def check_address(address: str, name: str = "--ray") -> None:
    """Raise UsageError for what cannot be an address of RayOptions; `name` is what gives it."""
    host, _, port = address.rpartition(":")
    if address in ("auto", "local") or ("://" not in host and host and port.isdecimal()):
        return
    hint = ": run tulu on a machine of the cluster" if "://" in address else ""
    raise UsageError(f"{name} takes HOST:PORT, auto or local, not {address!r}{hint}.")


def why_not(machine: Machine) -> str | None:
    """Return why workers on Ray cannot be asked for here, or None if they can."""
    return None if "ray" in machine.packages else f"ray is not installed ({install('ray')})"
