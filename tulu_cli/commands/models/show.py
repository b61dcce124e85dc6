"""`tulu models show`: show the model card of a model, and the facts in its files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import BadInput, ModelNotFound, TuluError, UsageError

if TYPE_CHECKING:
    from tulu_cli.models import FamilyModel, ModelRef
    from tulu_cli.streams import Streams

# The formats of each view, its default first.
FORMATS = {
    "card": ("text", "json"),
    "benchmarks": ("text", "json", "csv", "markdown", "plot"),
    "hyperparameters": ("text", "json", "csv", "markdown", "toml"),
    "citation": ("text", "json"),
}


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A Tülu 3 model, org/name[@revision], a directory or a .gguf file.",
            metavar="MODEL",
        ),
    ],
    benchmarks: Annotated[
        bool, typer.Option("--benchmarks", help="Show the card's evaluation table, with its peers.")
    ] = False,
    hyperparameters: Annotated[
        bool, typer.Option("--hyperparameters", help="Show the card's PPO settings for RLVR.")
    ] = False,
    citation: Annotated[bool, typer.Option("--citation", help="Show the BibTeX entry.")] = False,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw the benchmarks as a bar chart.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table as CSV.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a table as Markdown.")
    ] = False,
    toml: Annotated[
        bool, typer.Option("--toml", help="Print the hyperparameters as TOML.")
    ] = False,
    offline: _options.Offline = False,
    _debug: _options.Debug = False,
) -> None:
    """Show a model: its card, its benchmarks, its training settings, its shape.

    Tülu 3 models need no download. Of any other model only the small files are read, and fetched
    if they are not cached.
    """
    from tulu_cli.settings import read_settings
    from tulu_cli.streams import Streams

    views = {"benchmarks": benchmarks, "hyperparameters": hyperparameters, "citation": citation}
    formats = {"plot": plot, "json": json_output, "csv": as_csv, "markdown": markdown, "toml": toml}
    chosen = choose(name, views, formats, offline=offline)
    run(chosen, Streams.standard(), read_settings({}).aliases)


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """The model to show, the view of it, and the format."""

    name: str
    view: str = "card"
    form: str = "text"
    offline: bool = False


def choose(
    name: str, views: Mapping[str, bool], formats: Mapping[str, bool], *, offline: bool
) -> ShowOptions:
    """Choose the view and its format. Raise UsageError for flags that cannot be combined."""
    view = _only(views, "card")
    form = _only(formats, "text")
    if form not in FORMATS[view]:
        fitting = [f"--{other}" for other, forms in FORMATS.items() if form in forms]
        raise UsageError(f"--{form} goes with {' and '.join(fitting)}.")
    return ShowOptions(name, view, form, offline)


def _only(flags: Mapping[str, bool], otherwise: str) -> str:
    given = [name for name, is_set in flags.items() if is_set]
    if len(given) > 1:
        raise UsageError(f"--{given[0]} and --{given[1]} cannot be combined.")
    return given[0] if given else otherwise


def run(chosen: ShowOptions, streams: "Streams", aliases: Mapping[str, str]) -> None:
    """Write the view to stdout. Raise TuluError if the card does not have it."""
    from tulu_cli.models import resolve
    from tulu_cli.models.family import family_model

    ref = resolve(chosen.name, aliases)
    model = family_model(ref.repo)
    if chosen.view == "card":
        show_card(chosen, ref, model, streams)
        return
    if model is None:
        raise TuluError(f"{chosen.name!r} is not in the model card, which is of the Tülu 3 family.")
    writers = {
        "benchmarks": show_benchmarks,
        "hyperparameters": show_hyperparameters,
        "citation": show_citation,
    }
    writers[chosen.view](chosen, model, streams)


def show_card(
    chosen: ShowOptions, ref: "ModelRef", model: "FamilyModel | None", streams: "Streams"
) -> None:
    """Write the card, and the facts in the model's own files if they are cached."""
    from tulu_cli.commands.models import _card, _facts

    found = _read_facts(chosen, ref, streams, fetch=model is None)
    if chosen.form == "json":
        about = _card.as_object(model) if model else {"name": ref.name}
        _write_json(streams, about | {"files": found})
        return
    lines = _card.as_lines(model, streams.width) if model else []
    if found:
        lines += ["", "Files"] if lines else []
        lines += _card.fields(_facts.as_rows(found), streams.width)
    _write(streams, lines)


def show_benchmarks(chosen: ShowOptions, model: "FamilyModel", streams: "Streams") -> None:
    """Write the evaluation table."""
    from tulu_cli.commands.models import _benchmarks
    from tulu_cli.models.card import benchmarks

    table = benchmarks(model)
    if chosen.form == "json":
        _write_json(streams, _benchmarks.as_object(table))
    elif chosen.form == "csv":
        streams.write(_benchmarks.as_csv(table))
    elif chosen.form == "markdown":
        _write(streams, _benchmarks.as_markdown(table))
    else:
        width = streams.width if streams.stdout_tty else None
        plotted = chosen.form == "plot"
        _write(
            streams,
            _benchmarks.as_plot(table, streams.width, utf8=streams.utf8)
            if plotted
            else _benchmarks.as_lines(table, width),
        )
        for note in _benchmarks.footnotes(table, whole=plotted or width is None):
            streams.say(f"tulu: {note}")


def show_hyperparameters(chosen: ShowOptions, model: "FamilyModel", streams: "Streams") -> None:
    """Write the settings of the reinforcement learning."""
    from tulu_cli.commands.models import _settings
    from tulu_cli.models.card import card, hyperparameters

    settings = hyperparameters(model)
    if chosen.form == "json":
        _write_json(streams, _settings.as_object(settings))
    elif chosen.form == "csv":
        streams.write(_settings.as_csv(settings))
    elif chosen.form == "text":
        _write(streams, _settings.as_lines(settings, streams.width))
        streams.say(f"tulu: {_settings.TITLE}. Source: {card().source}.")
    else:
        forms = {"markdown": _settings.as_markdown, "toml": _settings.as_toml}
        _write(streams, forms[chosen.form](settings))


def show_citation(chosen: ShowOptions, model: "FamilyModel", streams: "Streams") -> None:
    """Write the BibTeX entry."""
    from tulu_cli.commands.models._card import is_tulu
    from tulu_cli.models.card import card

    if not is_tulu(model):
        raise TuluError(
            f"The card's citation is that of Tülu 3, and {model.alias} is another model."
        )
    if chosen.form == "json":
        _write_json(streams, {"bibtex": card().citation})
    else:
        _write(streams, [card().citation])


def _read_facts(
    chosen: ShowOptions, ref: "ModelRef", streams: "Streams", *, fetch: bool
) -> dict[str, Any] | None:
    """Return the facts in a model's files, None if those are not cached and need not be."""
    from tulu_cli.commands.models._facts import facts, gguf_facts
    from tulu_cli.models import locate
    from tulu_cli.models.gguf import read_header
    from tulu_cli.models.installed import look
    from tulu_cli.render.talk import progress_on

    if ref.kind == "gguf":
        path = ref.path or Path()
        return gguf_facts(read_header(path), path.stat().st_size)
    if ref.kind == "demo" and look(ref).state != "complete":
        return None  # to have it would be to build it
    offline = chosen.offline or not fetch
    try:
        with progress_on(streams) as progress:
            files = locate(ref, offline=offline, weights=False, progress=progress, say=streams.say)
        return facts(files)
    except (ModelNotFound, BadInput) as error:
        if fetch:
            raise
        if isinstance(error, BadInput):  # what is broken in the cache does not hide the card
            streams.say(f"tulu: {error}")
        return None


def _write(streams: "Streams", lines: list[str]) -> None:
    streams.write("\n".join(lines) + "\n")


def _write_json(streams: "Streams", value: Any) -> None:
    streams.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
