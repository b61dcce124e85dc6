"""An engine that is not in this process: where it listens, and what it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from tulu_cli.core import EngineInfo
from tulu_cli.warm.lease import Lease, take
from tulu_cli.warm.record import Warm


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The socket of a warm engine of ours, with a lease on it, or the URL of a server.

    `info.model` is the server's name for the model, and `root` is where it was loaded from, if that
    is known. A server that `takes_messages` makes the prompt itself, and has `models` to choose
    from; others are given token ids. `end_token_ids` are the model's, for a warm engine.
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
        """True for a warm engine of ours, which has routes that no other server has."""
        return self.socket is not None


def leased(warm: Warm) -> Endpoint | None:
    """Return the way to a warm engine, which stays loaded until the lease is given back.

    Return None if it is not ready, or is being unloaded.
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
