"""`tulu config show`: print every setting, its value and its origin."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options

if TYPE_CHECKING:
    from tulu_cli.settings import Key, Settings
    from tulu_cli.streams import Streams


def show(
    origin: Annotated[
        bool, typer.Option("--origin", help="Show where each value comes from.")
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the origins.")
    ] = False,
    profile: _options.Profile = None,
    _debug: _options.Debug = False,
) -> None:
    """Print every setting, with the value that a command here would use.

    A pipe gets lines of tab-separated fields: the key, the value as JSON (null if each run decides)
    and, with --origin, where it comes from.
    """
    from tulu_cli.settings import read_settings
    from tulu_cli.streams import Streams

    settings = read_settings({"profile": profile})
    found = rows(settings, generation_config(settings))
    run(Streams.standard(), found, origin=origin, json_output=json_output)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting; None is a value that each run decides for itself."""

    key: str
    value: Any
    origin: str


def run(streams: "Streams", found: list[Row], *, origin: bool, json_output: bool) -> None:
    """Print the rows."""
    from dataclasses import asdict

    if json_output:
        streams.write(json.dumps([asdict(row) for row in found], ensure_ascii=False) + "\n")
        return
    lines = [(row.key, json.dumps(row.value, ensure_ascii=False), row.origin) for row in found]
    if streams.stdout_tty:
        widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
        lines = [(key.ljust(widths[0]), value.ljust(widths[1]), by) for key, value, by in lines]
    between = "  " if streams.stdout_tty else "\t"
    for line in lines:
        streams.write(between.join(line if origin else line[:2]).rstrip(" ") + "\n")


def rows(settings: "Settings", advice: Mapping[str, Any]) -> list[Row]:
    """Every setting, and the user's aliases and prompts. Pure; `advice` is what the model says."""
    from tulu_cli.settings import KEYS, dotted

    found = [Row(dotted(key.keys), *used(key, settings, advice)) for key in KEYS]
    for table, texts in (("alias", settings.aliases), ("prompts", settings.prompts)):
        named = ((f"{table}.{name}", text) for name, text in texts.items())
        found += [Row(key, text, settings.origins.get(key, "")) for key, text in named]
    return found


def used(key: "Key", settings: "Settings", advice: Mapping[str, Any]) -> tuple[Any, str]:
    """The value of a setting, and where it came from."""
    if setting := settings.values.get(key.name):
        return setting.value, setting.origin
    if key.name in advice:
        return advice[key.name], "model"
    return default_of(key), "default"


def default_of(key: "Key") -> Any:
    """What a run uses where nobody says anything, None where it depends on the run."""
    from dataclasses import MISSING, fields

    from tulu_cli.core import Sampling
    from tulu_cli.engines.base import EngineSpec

    if key.name == "engine":
        return "auto"
    declared = {"sampling": fields(Sampling), "engine": fields(EngineSpec)}.get(key.table, ())
    for one in declared:
        if one.name == key.name and one.default is not MISSING and key.name != "seed":
            return one.default
    return None


def generation_config(settings: "Settings") -> Mapping[str, Any]:
    """The sampling that the model's authors advise, as far as its files are on this machine."""
    from tulu_cli.errors import TuluError
    from tulu_cli.models import locate, resolve
    from tulu_cli.request.sampling import advised

    name = settings.get("model")
    if name is None or (name == "demo" and os.environ.get("TULU_DEMO_WHEEL")):
        return {}  # nothing is converted only to be shown
    try:
        ref = resolve(name, settings.aliases)
        if ref.kind == "gguf":
            return {}
        return advised(locate(ref, offline=True, weights=False).generation_config)
    except TuluError:
        return {}
