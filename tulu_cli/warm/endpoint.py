"""An engine that is not in this process: where it listens, and what it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from tulu_cli.core import EngineInfo
from tulu_cli.warm.lease import Lease, take
from tulu_cli.warm.record import Warm


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Either the socket of a warm engine of ours, with a lease on it, or the URL of a server.

    `info.model` is the name by which the server knows the model, and `root` is where it was loaded
    from, if that is known. One that `takes_messages` makes the prompt itself and is asked for the
    one of its `models` that is wanted; others are given token ids. `end_token_ids` are those of the
    model, where it is a warm engine.
    """

    info: EngineInfo
    socket: Path | None = None
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    root: str | None = None
    log: Path | None = None
    takes_messages: bool = False
    models: tuple[str, ...] = ()
    lease: Lease | None = field(default=None, repr=False, compare=False)
    end_token_ids: tuple[int, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether it is a warm engine of ours, which can be asked for what no other server does."""
        return self.socket is not None


def leased(warm: Warm) -> Endpoint | None:
    """The way to a warm engine, which stays loaded until the lease is given back.

    None where it is not ready, or is being unloaded at this moment.
    """
    if warm.info is None or not warm.is_ready:
        return None
    lease = take(warm.folder)
    if lease is None:
        return None
    return Endpoint(
        warm.info,
        socket=warm.socket,
        log=warm.folder / "log",
        lease=lease,
        end_token_ids=warm.order.end_token_ids,
    )
