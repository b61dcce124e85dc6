"""`tulu models rm`: remove a model from the caches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import TuluError, UsageError

if TYPE_CHECKING:
    from tulu_cli.models.installed import Removal
    from tulu_cli.streams import Streams


EXIT_CODES = {
    0: "Removed.",
    1: "Not removed, since you did not agree or it could not be deleted.",
    2: "Nobody can be asked, and --yes was not given.",
    5: "Nothing of this model is cached.",
}


def rm(
    name: Annotated[
        str,
        typer.Argument(
            help="A Tülu 3 model, org/name[@revision], or a .gguf file, to remove its conversion.",
            metavar="MODEL",
        ),
    ],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print a JSON object: model, path and bytes.")
    ] = False,
    _debug: _options.Debug = False,
) -> None:
    """Remove a model from the caches, and say how many bytes that frees.

    On a terminal it asks first; elsewhere it needs --yes. It never removes your own files.
    """
    from tulu_cli.settings import read_settings
    from tulu_cli.streams import Streams

    run(RmOptions(name, yes, json_output), Streams.standard(), read_settings({}).aliases)


@dataclass(frozen=True, slots=True)
class RmOptions:
    """The model to remove, and how."""

    name: str
    yes: bool = False
    json_output: bool = False


def run(chosen: RmOptions, streams: "Streams", aliases: Mapping[str, str]) -> None:
    """Remove the model. Raise UsageError if nobody can be asked, TuluError if the answer is no."""
    from tulu_cli.models import resolve
    from tulu_cli.models.installed import plan_removal

    removal = plan_removal(resolve(chosen.name, aliases))
    if not chosen.yes:
        ask(removal, streams)
    removal.execute()
    if chosen.json_output:
        about = {"model": removal.name, "path": str(removal.path), "bytes": removal.bytes}
        streams.write(json.dumps(about, ensure_ascii=False) + "\n")
    else:
        streams.say(f"tulu: Removed {described(removal)}.")


def ask(removal: "Removal", streams: "Streams") -> None:
    """Ask the user. Raise TuluError unless the answer is yes, UsageError without a terminal."""
    if not streams.stdin_tty:
        raise UsageError(f"--yes is needed to remove {described(removal)}: nobody can be asked.")
    streams.say(f"Remove {described(removal)}? [y/N]")
    answer = streams.stdin.readline().decode("utf-8", "replace").strip().lower()
    if answer not in ("y", "yes"):
        raise TuluError("Nothing was removed.")


def described(removal: "Removal") -> str:
    """Describe a removal: its name, its folder and its bytes."""
    from tulu_cli.text import gib

    return f"{removal.name} from {removal.path}, {gib(removal.bytes)} ({removal.bytes:,} bytes)"
