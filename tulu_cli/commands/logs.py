"""`tulu logs`: print the log of a warm engine.

It is not a verb of `serve`, whose argument is a model: `tulu serve logs` would serve the model
of that name.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options

if TYPE_CHECKING:
    from tulu_cli.streams import Streams

_LOOK_SECONDS = 0.2


def logs(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The engine's model; needed if there are several engines.", metavar="MODEL"
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Follow the log until the engine ends.")
    ] = False,
    _debug: _options.Debug = False,
) -> None:
    """Print the log of a warm engine, or of the last one that died."""
    from tulu_cli.streams import Streams

    run(model, Streams.standard(), follow=follow)


def run(model: str | None, streams: "Streams", *, follow: bool) -> None:
    """Write the log to stdout. Raise UsageError if it is not clear which engine is meant."""
    import time

    from tulu_cli.warm.finder import is_alive

    log = log_of(model)
    with log.open("rb") as lines:
        while True:
            alive = is_alive(log.parent)
            while piece := lines.read(65536):
                streams.write(piece.decode("utf-8", errors="replace"))
            if not (follow and alive):
                return
            time.sleep(_LOOK_SECONDS)


def log_of(model: str | None) -> Path:
    """Return the log of the engine that is meant: a living one, else the newest of the dead."""
    from tulu_cli.warm.finder import dead_logs, named, warm_engines

    running = warm_engines()
    dead = dead_logs()
    if model is None and not running and dead:
        return dead[0]
    return named(model, running).folder / "log"
