"""`tulu stop`: stop warm engines."""

from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.streams import Streams


def stop(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The engine's model, as `tulu ps` shows it; needed if there are several engines.",
            metavar="MODEL",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop all of them.")] = False,
    _debug: _options.Debug = False,
) -> None:
    """Stop a warm engine, or all of them, and wait until the memory is free."""
    from tulu_cli.streams import Streams

    run(model, Streams.standard(), everything=everything)


def run(model: str | None, streams: "Streams", *, everything: bool) -> None:
    """End one engine, or all. Raise UsageError if it is not clear which, TuluError if one stays."""
    from tulu_cli.warm import starter
    from tulu_cli.warm.finder import named, sweep, warm_engines

    if everything and model is not None:
        raise UsageError("--all and MODEL cannot be combined.")
    for name in sweep():
        streams.say(f"tulu: removed what was left of the engine of {name}, which had died.")
    running = warm_engines()
    for warm in running if everything else [named(model, running)]:
        starter.stop(warm)
        streams.say(f"tulu: stopped {warm.order.asked} ({warm.order.identity.engine}).")
