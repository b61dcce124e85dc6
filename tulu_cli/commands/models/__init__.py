"""List the Tülu 3 models; show, download and remove any model."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.streams import Streams


def models(
    context: typer.Context,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print a JSON array with every field.")
    ] = False,
    _debug: _options.Debug = False,
) -> None:
    """List the Tülu 3 family: what each model is, whether it is cached, whether its weights fit.

    The column FITS compares the weights alone, in bfloat16, with the memory that is free now on
    the GPUs or in RAM; the KV cache needs more. `tulu plan` computes that.
    """
    if context.invoked_subcommand:
        if json_output:
            raise UsageError(f"--json goes behind {context.invoked_subcommand}, not before it.")
        return
    from tulu_cli.machine import free_memory, read_machine
    from tulu_cli.streams import Streams

    run(Streams.standard(), read_machine(), free_memory(), json_output=json_output)


def run(streams: "Streams", machine: "Machine", memory_free: int, *, json_output: bool) -> None:
    """Write the list to stdout, and the notes on its columns to stderr."""
    from tulu_cli.commands.models._family import as_lines, as_object, entries

    listed = entries(tuple(gpu.free_bytes for gpu in machine.gpus), memory_free)
    if json_output:
        streams.write(json.dumps([as_object(entry) for entry in listed], indent=2) + "\n")
        return
    head, *rows = as_lines(listed, streams.width if streams.stdout_tty else None)
    streams.write_styled(f"\x1b[1m{head}\x1b[0m\n" if streams.color else f"{head}\n")
    streams.write("\n".join(rows) + "\n")
    for note in notes(machine, memory_free):
        streams.say(f"tulu: {note}")


def notes(machine: "Machine", memory_free: int) -> list[str]:
    """Return the notes on the columns: the free memory, and the limits of the estimate."""
    from tulu_cli.text import gib

    free = [f"GPU {gpu.index} {gib(gpu.free_bytes)}" for gpu in machine.gpus]
    return [
        f"Free now: {', '.join([*free, f'RAM {gib(memory_free)}'])}.",
        "Fits is about the weights alone, in bf16; the context needs more.",
    ]
