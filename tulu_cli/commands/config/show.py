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
class ShownSetting:
    """One setting; its value is None if each run decides for itself."""

    key: str
    value: Any
    origin: str


def run(streams: "Streams", found: list[ShownSetting], *, origin: bool, json_output: bool) -> None:
    """Print the rows."""
    from dataclasses import asdict

    from tulu_cli.render.columns import table
    from tulu_cli.text import one_line

    if json_output:
        streams.write(json.dumps([asdict(row) for row in found], ensure_ascii=False) + "\n")
        return
    lines = [[row.key, json.dumps(row.value, ensure_ascii=False), row.origin] for row in found]
    lines = lines if origin else [line[:2] for line in lines]
    if streams.stdout_tty:
        streams.write(table([list(map(one_line, line)) for line in lines]))
    else:
        streams.write("".join("\t".join(line).rstrip(" ") + "\n" for line in lines))


def rows(settings: "Settings", advice: Mapping[str, Any]) -> list[ShownSetting]:
    """Return every setting, alias and prompt; `advice` is the model's own sampling. Pure."""
    from tulu_cli.settings import KEYS, dotted

    found = [ShownSetting(dotted(key.keys), *used(key, settings, advice)) for key in KEYS]
    for table, texts in (("alias", settings.aliases), ("prompts", settings.prompts)):
        named = ((f"{table}.{name}", text) for name, text in texts.items())
        found += [ShownSetting(key, text, settings.origins.get(key, "")) for key, text in named]
    return found


def used(key: "Key", settings: "Settings", advice: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the value of a setting and its origin."""
    if setting := settings.values.get(key.name):
        return setting.value, setting.origin
    if key.name in advice:
        return advice[key.name], "model"
    return default_of(key), "default"


def default_of(key: "Key") -> Any:
    """Return the default of a setting, None if it depends on the run."""
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
    """Return the sampling that the model's authors advise, as far as its files are cached."""
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
