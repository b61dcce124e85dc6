"""An engine that is not in this process: where it listens, and what it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from tulu_cli.core import EngineInfo, TokenIds
from tulu_cli.warm.lease import Lease, take
from tulu_cli.warm.record import Warm


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens: the socket of a warm engine of ours, or a URL.

    `name` is what a warm engine is called in an error, and `log` the file that it writes. Where
    it `is_one_of_several`, a request whose connection breaks is for another one. At most
    `in_flight` requests of a batch are with it at a time, as many as it takes if that is None.
    """

    name: str = ""
    socket: Path | None = None
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    log: Path | None = None
    is_one_of_several: bool = False
    in_flight: int | None = None

    @property
    def is_ours(self) -> bool:
        """True for a warm engine of ours, which answers more than other servers do."""
        return self.socket is not None


@dataclass(frozen=True, slots=True)
class Endpoint(Address):
    """A server that takes token ids: a warm engine of ours with a lease on it, or vLLM's server.

    `info.model` is the name by which the server knows the model. `root` is the name that its
    tokenizer may have here: where it was loaded from, unless that is a directory of the server's
    machine, which `away` then is. `end_token_ids` are the model's, if it is a warm engine.
    `adapters` are the names of those that the server has loaded beside the model, and `draft` that
    of a warm engine's draft, if it has one.
    """

    info: EngineInfo
    root: str | None = None
    away: str | None = None
    lease: Lease | None = field(default=None, repr=False, compare=False)
    end_token_ids: TokenIds = ()
    adapters: tuple[str, ...] = ()
    draft: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatServer(Address):
    """A server that takes messages and makes the prompt itself; `models` are those it lists."""

    models: tuple[str, ...] = ()


def leased(warm: Warm) -> Endpoint | None:
    """Return the way to a warm engine, which stays loaded until the lease is given back.

    Return None if it is not ready, or is being unloaded at this moment.
    """
    if warm.info is None or not warm.is_ready:
        return None
    lease = take(warm.folder)
    if lease is None:
        return None
    return Endpoint(
        warm.info,
        name=warm.info.model,
        socket=warm.socket,
        log=warm.folder / "log",
        lease=lease,
        end_token_ids=warm.order.end_token_ids,
        adapters=tuple(one["name"] for one in warm.order.identity.settings.get("adapters", ())),
        draft=(warm.order.identity.settings.get("draft") or {}).get("name"),
    )
