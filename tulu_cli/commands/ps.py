"""`tulu ps`: list the warm engines of this user."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.text import duration, gib

if TYPE_CHECKING:
    from tulu_cli.streams import Streams
    from tulu_cli.warm.record import Warm

HEADINGS = (
    "MODEL",
    "ENGINE",
    "PID",
    "DEVICE",
    "MEMORY",
    "GPU",
    "STATE",
    "REQUESTS",
    "IDLE",
    "UNLOADS IN",
    "SOCKET",
)


def ps(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print each engine as a JSON object on a line.")
    ] = False,
    _debug: _options.Debug = False,
) -> None:
    """List the warm engines, and clean up after dead ones."""
    from tulu_cli.streams import Streams

    run(Streams.standard(), json_output=json_output)


def run(streams: "Streams", *, json_output: bool) -> None:
    """Remove what dead engines left, and list the living ones; print nothing if there are none."""
    import time

    from tulu_cli.render.columns import table
    from tulu_cli.warm.finder import sweep, warm_engines

    for name in sweep():
        streams.say(f"tulu: removed what was left of the engine of {name}, which had died.")
    rows = [row_of(warm, time.time()) for warm in warm_engines()]
    if json_output:
        streams.write("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    elif rows:
        from tulu_cli.render.columns import table

        streams.write(table([HEADINGS, *(row.cells() for row in rows)]))
    else:
        streams.say("tulu: no engine is warm; tulu serve MODEL starts one.")


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One engine. Times are in seconds and memory in bytes; None is unknown, or never.

    `adapters` are those that it has loaded beside the model, and `draft` is what drafts for it.
    """

    model: str
    engine: str
    adapters: list[str]
    draft: str | None
    pid: int
    processes: list[int]
    device: str | None
    memory_bytes: int
    gpus: dict[int, int]
    state: str
    requests: int | None
    idle_seconds: float | None
    unloads_in_seconds: float | None
    socket: str
    log: str

    def cells(self) -> tuple[str, ...]:
        """Return the row as texts under HEADINGS."""
        gpus = ", ".join(f"{index}: {gib(size, 1)}" for index, size in self.gpus.items())
        model = " + ".join((self.model, *self.adapters))
        return (
            model if self.draft is None else f"{model} (draft {self.draft})",
            self.engine,
            str(self.pid),
            self.device or "-",
            gib(self.memory_bytes, 1),
            gpus or "-",
            self.state,
            "-" if self.requests is None else str(self.requests),
            "-" if self.idle_seconds is None else duration(self.idle_seconds),
            "when stopped"
            if self.unloads_in_seconds is None
            else duration(self.unloads_in_seconds),
            self.socket,
        )


def row_of(warm: "Warm", now: float) -> EngineRow:
    """Return the state of an engine at the time `now`, in seconds of time.time()."""
    from tulu_cli.machine import gpu_memory
    from tulu_cli.processes import marked, resident_bytes
    from tulu_cli.warm.lease import in_use, last_used

    processes = sorted(marked(warm.folder)) or [warm.state.server]
    requests = requests_of(warm)
    used = last_used(warm.folder) or now
    busy = bool(requests) or in_use(warm.folder)
    idle = 0.0 if busy else max(0.0, now - used)
    keep_alive, held = warm.order.keep_alive, warm.order.identity.settings
    return EngineRow(
        model=warm.order.asked,
        engine=warm.order.identity.engine,
        adapters=[one["name"] for one in held.get("adapters", ())],
        draft=(held.get("draft") or {}).get("name"),
        pid=warm.state.supervisor,
        processes=processes,
        device=warm.info.device if warm.info else None,
        memory_bytes=sum(map(resident_bytes, processes)),
        gpus=gpu_memory(processes),
        state=state_of(warm, requests),
        requests=requests,
        idle_seconds=idle if warm.is_ready else None,
        unloads_in_seconds=max(0.0, keep_alive - idle) if keep_alive else None,
        socket=str(warm.socket),
        log=str(warm.folder / "log"),
    )


def requests_of(warm: "Warm") -> int | None:
    """Return the number of running requests, or None if the engine does not answer."""
    from tulu_cli.warm.unix_http import get

    try:
        return int(json.loads(get(warm.socket, "/load")[1])["server_load"])
    except (OSError, ValueError, LookupError):
        return None


def state_of(warm: "Warm", requests: int | None) -> str:
    """Return what the engine is doing, in a word or two."""
    if not warm.is_ready:
        return "loading"
    return "ready" if requests is not None else "not answering"
