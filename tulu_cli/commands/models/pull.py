"""`tulu models pull`: download a model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.models import ModelFiles, ModelRef
    from tulu_cli.streams import Streams


EXAMPLES = (("Download the 8B model before going offline", "tulu models pull 8b"),)
EXIT_CODES = {
    0: "The whole model is here.",
    2: "There is nothing to download, or the options contradict each other.",
    5: "There is no such model, or it is not cached and we are offline.",
}


def pull(
    name: Annotated[
        str,
        typer.Argument(help="A Tülu 3 model, such as 8b, or org/name[@revision].", metavar="MODEL"),
    ],
    revision: Annotated[
        str | None,
        typer.Option(
            help="Branch, tag or commit to download.  [default: main]", metavar="REVISION"
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print a JSON object instead of the directory.")
    ] = False,
    offline: _options.Offline = False,
    _debug: _options.Debug = False,
) -> None:
    """Download a model, or the missing part of it, and print its directory.

    Only safetensors, tokenizer and config files are fetched, never pickles. An interrupted
    download keeps the files that are complete.
    """
    from tulu_cli.settings import read_settings
    from tulu_cli.streams import Streams

    chosen = PullOptions(name, revision, json_output, offline)
    run(chosen, Streams.standard(), read_settings({}).aliases)


@dataclass(frozen=True, slots=True)
class PullOptions:
    """The model to fetch, and how."""

    name: str
    revision: str | None = None
    json_output: bool = False
    offline: bool = False


def run(chosen: PullOptions, streams: "Streams", aliases: Mapping[str, str]) -> None:
    """Fetch the model. Raise what `locate` raises, and UsageError if it cannot be fetched."""
    from tulu_cli.models import locate
    from tulu_cli.render.talk import progress_on

    ref = reference(chosen, aliases)
    with progress_on(streams) as progress:
        files = locate(ref, offline=chosen.offline, progress=progress, say=streams.say)
    report(files, streams, json_output=chosen.json_output)


def reference(chosen: PullOptions, aliases: Mapping[str, str]) -> "ModelRef":
    """Resolve the name and --revision. Raise UsageError if they contradict one another."""
    from tulu_cli.models import resolve

    ref = resolve(chosen.name, aliases)
    if ref.kind == "directory":
        raise UsageError(f"{chosen.name!r} is a directory: there is nothing to fetch.")
    if chosen.revision is None:
        return ref
    if ref.kind != "hub":
        raise UsageError("--revision goes with a repository of the Hugging Face Hub.")
    if ref.revision:
        raise UsageError(f"--revision and @{ref.revision} in the name cannot be combined.")
    return resolve(f"{ref.repo}@{chosen.revision}")


def report(files: "ModelFiles", streams: "Streams", *, json_output: bool) -> None:
    """Write the directory to stdout and its size to stderr."""
    from tulu_cli.disk import folder_size
    from tulu_cli.text import gib

    size = folder_size(files.directory)
    if json_output:
        about = {
            "model": files.ref.repo or files.ref.name,
            "revision": files.revision,
            "directory": str(files.directory),
            "bytes": size,
        }
        streams.write(json.dumps(about, ensure_ascii=False) + "\n")
        return
    streams.say(f"tulu: {files.ref.name} is here: {gib(size)}.")
    streams.write(f"{files.directory}\n")
