"""`tulu eval`: measure a model on the benchmarks of the model card, beside the card's values."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import BadInput, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tulu_cli.streams import Streams

EXAMPLES = (
    ("Does this deployment reach the card's numbers?", "tulu eval 8b --server http://gpu:8000"),
    ("A first look at 200 rows", "tulu eval 8b gsm8k --limit 200"),
    ("Go on after an interruption", "tulu eval 8b gsm8k math -o runs/8b --resume"),
    ("Is the quantized model worse?", "tulu eval --compare runs/8b runs/8b-fp8"),
    ("Show results again", "tulu eval show runs/8b"),
)
EXIT_CODES = _options.EXIT_CODES | {
    65: "The data cannot be read, or some rows could not be answered; stderr says where.",
}
TASKS = "Tasks"


def eval(  # noqa: A001  (the command's name)
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="The model and its tasks: mmlu, popqa, truthfulqa, bbh, drop, math, gsm8k, "
            "humaneval, humaneval+, ifeval, quick (drop and gsm8k) or all, the default: those "
            "whose rows are here; or show DIR; or data.",
            metavar="MODEL [TASK]...",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Ask N rows of each task, drawn by chance and always the same; a larger N goes on "
            "with a smaller one.",
            metavar="N",
            rich_help_panel=TASKS,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Read the rows from DIR.  [default: the published ones, fetched once]",
            metavar="DIR",
            rich_help_panel=TASKS,
        ),
    ] = None,
    card: Annotated[
        str | None,
        typer.Option(
            help="Compare with the card's values of this model of the family.  "
            "[default: the model's own]",
            metavar="ALIAS",
            rich_help_panel=TASKS,
        ),
    ] = None,
    run_code: Annotated[
        bool,
        typer.Option(
            "--run-code",
            help="Run the programs that the model writes for humaneval and humaneval+, in limited "
            "child processes; without it they wait.",
            rich_help_panel=TASKS,
        ),
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            "--max-new-tokens",
            min=1,
            help="Generate at most N tokens an answer.  [default: as the task's authors do]",
            metavar="N",
            rich_help_panel=TASKS,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--n",
            min=1,
            max=1024,
            help="Draw N answers a row of humaneval and humaneval+.  [default: 20]",
            metavar="N",
            rich_help_panel=TASKS,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Write answers, grades and the report into DIR.  [default: eval-MODEL]",
            metavar="DIR",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an unfinished run; start it if there is none.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace existing results.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Compare two folders of results over the same rows, in pairs.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    json_output: Annotated[
        bool,
        typer.Option("--json", help="Print JSON.", rich_help_panel=_options.OUTPUT),
    ] = False,
    adapter: _options.Adapter = None,
    engine: _options.Engine = None,
    dtype: _options.Dtype = None,
    quantization: _options.Quantization = None,
    tensor_parallel_size: _options.TensorParallelSize = None,
    pipeline_parallel_size: _options.PipelineParallelSize = None,
    gpu_memory_utilization: _options.GpuMemoryUtilization = None,
    max_model_len: _options.MaxModelLen = None,
    device: _options.Device = None,
    engine_arg: _options.EngineArg = None,
    trust_remote_code: _options.TrustRemoteCode = False,
    deterministic: _options.Deterministic = False,
    force: _options.Force = False,
    keep_alive: _options.KeepAlive = None,
    server: _options.Servers = None,
    mixed: _options.Mixed = False,
    server_wait: _options.ServerWait = None,
    in_flight: _options.InFlight = None,
    api_key_env: _options.ApiKeyEnv = None,
    no_server: _options.NoServer = False,
    profile: _options.Profile = None,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Measure a model on the benchmarks of the model card, beside the card's own values.

    Prompts, limits, extraction and metrics are those of the authors' OLMES, without a system
    prompt. The table has the card's value, yours with its 95 % interval, and a verdict: within,
    below or above what chance explains, or not comparable; what differs from the authors' set-up
    stands below.
    """
    flags = dict(locals())
    from pathlib import Path

    from tulu_cli.streams import Streams

    streams = Streams.standard()
    match words or []:
        case [first, second] if compare:
            _compare(Path(first), Path(second), streams, json_output=json_output)
        case _ if compare:
            raise UsageError("--compare takes two folders of results.")
        case ["show", folder]:
            _show(Path(folder), streams, json_output=json_output)
        case ["show", *_]:
            raise UsageError("tulu eval show takes one folder of results.")
        case ["data"]:
            _data(data, streams, json_output=json_output)
        case []:
            raise UsageError("Name a model: tulu eval MODEL [TASK]...")
        case [model, *tasks]:
            _measure(model, tasks, flags, streams)


def _measure(model: str, names: list[str], flags: dict[str, object], streams: "Streams") -> None:
    """Measure a model. Raise BadInput, after the table, if rows could not be answered."""
    from dataclasses import replace
    from pathlib import Path

    from tulu_cli.evaluation.session import EvalOptions, run
    from tulu_cli.evaluation.tasks import chosen
    from tulu_cli.machine import read_machine
    from tulu_cli.text import plural

    tasks, named = chosen(names)
    if flags["resume"] and flags["overwrite"]:
        raise UsageError("--resume and --overwrite cannot be combined.")
    _check_card(flags["card"])
    short = Path(model).name.partition("@")[0] or model
    folder = Path(str(flags["output"] or f"eval-{short}"))
    # Flags of the task's own, which are set a row; no system prompt, whatever the settings say.
    own = {"max_tokens": None, "model": model, "system": "none"}
    load = _options.load_options(flags | own)
    _options.check_several(flags, load.settings)
    if load.settings.is_flag("adapter") and len(load.settings.get("adapter")) > 1:
        raise UsageError("All rows are answered by one adapter: give --adapter once.")
    # A thought that is cut short is not what the authors measured.
    load = replace(load, settings=load.settings.without("max_reasoning_tokens"))
    options = EvalOptions(
        load=load,
        tasks=tasks,
        named=named,
        folder=folder,
        **{
            name: flags[name]
            for name in (
                "limit",
                "data",
                "card",
                "max_tokens",
                "samples",
                "resume",
                "overwrite",
                "run_code",
            )
        },  # type: ignore[arg-type]
    )
    errors = run(options, streams, read_machine())
    _show(folder, streams, json_output=bool(flags["json_output"]))
    if errors:
        raise BadInput(f"{plural(errors, 'row')} could not be answered: --resume tries them again.")


def _check_card(alias: object) -> None:
    """Raise UsageError for a name of which the card has no values."""
    from tulu_cli.evaluation.results import card_table

    if isinstance(alias, str) and card_table(alias) is None:
        raise UsageError(
            f"The card has no values for {alias}: --card takes 8b or 70b, -sft or -dpo."
        )


def _show(folder: "Path", streams: "Streams", *, json_output: bool) -> None:
    """Print the results of a folder, and write them into it as pages where that can be done."""
    from tulu_cli.evaluation.page import write_pages
    from tulu_cli.evaluation.report import as_lines, as_object
    from tulu_cli.evaluation.results import read_run

    made, results = read_run(folder)
    write_pages(folder, made, results)
    if json_output:
        _write_json(as_object(made, results), streams)
        return
    lines = as_lines(made, results, bars=streams.stdout_tty, utf8=streams.utf8)
    streams.write("\n".join(lines) + "\n")


def _compare(first: "Path", second: "Path", streams: "Streams", *, json_output: bool) -> None:
    from tulu_cli.evaluation.compare import as_lines, as_object, compare

    made = compare(first, second)
    if json_output:
        _write_json(as_object(made), streams)
        return
    streams.write("\n".join(as_lines(made)) + "\n")


def _data(own: str | None, streams: "Streams", *, json_output: bool) -> None:
    """List the rows of all tasks: whether they are here, their licences and sources. Fetch none."""
    from tulu_cli.evaluation.data import cached_folder, own_folder
    from tulu_cli.evaluation.listing import as_lines, as_object, where

    folder = cached_folder() if own is None else own_folder(own)
    if json_output:
        _write_json(as_object(folder), streams)
        return
    streams.write("\n".join(as_lines(folder)) + "\n")
    streams.say(f"tulu: {where(folder)}")


def _write_json(value: object, streams: "Streams") -> None:
    streams.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
