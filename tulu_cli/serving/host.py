"""The process that holds an engine of ours as a server, of `serving/app.py` on a socket.

`warm/supervisor.py` starts one for this user as `python -m tulu_cli.serving.host FOLDER`; `tulu
serve --host` becomes one on a port.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tulu_cli.core import EngineInfo
from tulu_cli.engines import choose
from tulu_cli.engines.base import EngineSpec, read_adapters, read_draft
from tulu_cli.engines.worker import end_with
from tulu_cli.errors import EngineError, TuluError
from tulu_cli.prompt import Tokenizer
from tulu_cli.serving.public import served_names
from tulu_cli.warm.record import LaunchOrder, read_order, write_json

if TYPE_CHECKING:
    from starlette.applications import Starlette

_GRACE_SECONDS = 1
_HEAD_SECONDS = 20.0  # for the head of a request; a client of ours sends it at once
_IDLE_SECONDS = 5  # between two requests of one connection


def main(folder: Path) -> int:
    """Load the engine and serve it until a signal comes."""
    os.umask(0o077)
    end_with(os.getppid(), signal.SIGTERM)
    order = read_order(folder)
    if order is None:
        return 1
    say_stage("loading weights")
    try:
        app, info = load(order)
    except TuluError as error:
        report_failure(folder, error)
        return int(error.exit_code)
    write_json(folder / "info.json", asdict(info))
    with private_socket(folder / "socket") as listening:
        # Before uvicorn takes it over, and after: it raises again what it has ended at.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        with suppress(KeyboardInterrupt):
            serve(app, listening)
    return 0


def load(order: LaunchOrder) -> "tuple[Starlette, EngineInfo]":
    """Load the engine and return the application over it. Raise what the engine raises."""
    from tulu_cli.serving.app import make_app
    from tulu_cli.serving.engine_thread import EngineThread

    spec = spec_of(order)
    choice = choose.EngineChoice(order.identity.engine, ())
    thread = EngineThread(lambda: choose.load(choice, spec))
    info = thread.start()
    names = served_names(info.model, order.asked)
    adapters = {one.name: str(one.directory) for one in spec.adapters}
    return make_app(thread, info, spec.tokenizer, order.end_token_ids, names, adapters), info


def spec_of(order: LaunchOrder) -> EngineSpec:
    """Return what an order asks to load, as an engine takes it."""
    identity = order.identity
    directory = Path(identity.directory)
    settings = dict(identity.settings)
    adapters = read_adapters(settings.pop("adapters", ()))
    draft = read_draft(settings.pop("draft", None))
    return EngineSpec(
        name=identity.model,
        directory=directory,
        tokenizer=Tokenizer.load(directory),
        revision=identity.revision,
        purpose="server",
        adapters=adapters,
        draft=draft,
        **settings,
    )


def private_socket(path: Path) -> socket.socket:
    """Return a Unix socket that only this user can open; uvicorn's own would be open to all."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    path.chmod(0o600)
    return made


def serve(app: Any, listening: socket.socket, log_level: str = "warning") -> None:
    """Answer on a socket until SIGTERM or SIGINT, which is then raised again."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http=impatient_protocol(),
        timeout_keep_alive=_IDLE_SECONDS,
        log_level=log_level,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def leave(code: int) -> NoReturn:
    """End the process at once: the engine's thread may be in the middle of a pass."""
    sys.stdout.flush()
    os._exit(code)


def impatient_protocol() -> Any:
    """Return uvicorn's HTTP protocol with a limit for the head of a request.

    uvicorn itself closes a connection only where nothing comes after an answer.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ImpatientProtocol(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
            super().connection_lost(exc)

        def _wait(self) -> None:
            """Start the clock as a head begins, and stop it once it is whole."""
            if self.conn.their_state is not IDLE:
                if self._waiting is not None:
                    self._waiting.cancel()
                self._waiting = None
            elif self._waiting is None:
                self._waiting = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    from h11 import IDLE

    return ImpatientProtocol


def say_stage(stage: str) -> None:
    """Print the line of the log from which `warm/starter.py` knows how far loading is."""
    print(f"tulu: stage {stage}", flush=True)  # noqa: T201 (stdout is the log)


def report_failure(folder: Path, error: BaseException) -> None:
    """Write down why loading failed, for the command that waits for the engine."""
    kind = type(error).__name__ if isinstance(error, TuluError) else EngineError.__name__
    write_json(folder / "failure.json", {"error": kind, "message": str(error)})


if __name__ == "__main__":
    leave(main(Path(sys.argv[1])))
