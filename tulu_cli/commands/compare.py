"""`tulu compare`: the answers of several models to the same prompts, beside each other."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.loading import LoadOptions

EXAMPLES = (
    (
        "The stages of one recipe",
        "tulu compare -m 8b-sft -m 8b-dpo -m 8b 'Explain RLVR to a child'",
    ),
    (
        "Does quantization show? Vote without knowing which is which",
        "tulu compare -m 8b -m 8b,quantization=fp8 prompts.jsonl --blind -o votes.jsonl",
    ),
    (
        "Two outputs of tulu batch, without a model",
        "tulu compare a.jsonl b.jsonl --prompts prompts.jsonl",
    ),
    ("What the votes say", "tulu compare votes.jsonl"),
)
EXIT_CODES = _options.EXIT_CODES | {
    65: "A file cannot be read, or some answers are missing; stderr says where.",
    130: "Interrupted by Ctrl-C; the answers and votes until then are kept.",
}
INPUT, VOTES = "Input", "Votes"


def compare(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="With -m, a prompt, or a file of rows as tulu batch takes them (its name ends "
            "with .jsonl, .json or .csv; - is stdin). Without, two or more outputs of tulu batch, "
            "or one file of votes.",
            metavar="PROMPT|FILE|-",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            help="The rows that the outputs answer: the prompts are shown with the answers.",
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    input_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="Format of the rows: auto, openai, messages, prompt, text, sharegpt or csv.  "
            "[default: auto, by each row's keys and the file's name]",
            metavar="ROW-FORMAT",
            show_default=False,
            rich_help_panel=INPUT,
        ),
    ] = "auto",
    template: Annotated[
        str | None,
        typer.Option(
            help='Make the prompt from columns of the row: "Classify: {title}".',
            metavar="TEXT WITH {COLUMNS}",
            rich_help_panel=INPUT,
        ),
    ] = None,
    system: _options.System = None,
    allow_special: _options.AllowSpecial = False,
    strict_roles: _options.StrictRoles = False,
    think: _options.Think = None,
    template_arg: _options.TemplateArg = None,
    max_tokens: _options.MaxTokens = None,
    temperature: _options.Temperature = None,
    greedy: _options.Greedy = False,
    top_p: _options.TopP = None,
    top_k: _options.TopK = None,
    min_p: _options.MinP = None,
    repetition_penalty: _options.RepetitionPenalty = None,
    seed: _options.Seed = None,
    stop: _options.Stop = None,
    json_output: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print a JSON object a row with every answer, its finish reason and its tokens; "
            "of votes, the counts, rates and tests.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="Show the answers as A, B, ... in an order that is drawn for each row, and ask "
            "which one is best.",
            rich_help_panel=VOTES,
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Keep each vote in FILE as it is cast.",
            metavar="FILE",
            rich_help_panel=VOTES,
        ),
    ] = None,
    order_seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Seed of the order.  [default: drawn by chance; the votes have it]",
            metavar="N",
            rich_help_panel=VOTES,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the votes in -o, and the answers beside them.",
            rich_help_panel=VOTES,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace existing votes and answers.",
            rich_help_panel=VOTES,
        ),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            help="A model as for tulu complete, and settings for it alone behind commas, such as "
            "8b,quantization=fp8 or 8b,temperature=0; repeat it for each.",
            metavar="MODEL",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
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
    """Show the answers of several models to the same prompts, or vote on them blind.

    Answers stand beside each other on a wide terminal, else below each other. Models are loaded one
    after the other, and answer as in tulu batch: the same row has the same seed for each.

    With --blind, equal answers are a tie that nobody is asked for. The end is a table of wins with
    win rates (ties aside, with Wilson's 95 % interval) and the exact sign test. Without a terminal,
    votes are read from stdin, one a line.
    """
    flags = dict(locals())
    from tulu_cli.batch.rows import read_template
    from tulu_cli.comparison.options import CompareOptions
    from tulu_cli.comparison.session import run
    from tulu_cli.machine import read_machine
    from tulu_cli.streams import Streams

    given = tuple(words or ())
    models = _models(flags)
    if models and len(given) > 1:
        raise UsageError("With -m, name one prompt or one file of rows: quote a prompt of words.")
    if models and prompts is not None:
        raise UsageError("--prompts is for outputs of tulu batch: with -m, name the rows alone.")
    if not models:
        of_rows = set() if prompts is None else {"input_format", "template"}
        why = "Outputs of tulu batch have their answers already"
        _options.refuse_given(compare, flags, _OF_FILES | of_rows, why)
    chosen = CompareOptions(
        models=models,
        files=() if models else given,
        source=next(iter(given), None) if models else prompts,
        input_format=input_format,
        template=None if template is None else read_template(template),
        stop=tuple(stop or ()),
        allow_special=allow_special,
        strict_roles=strict_roles,
        variables=_options.read_template_args(template_arg, think),
        blind=blind,
        output=output,
        order_seed=order_seed,
        resume=resume,
        overwrite=overwrite,
        json_output=json_output,
    )
    if chosen.is_prompt:
        for one in models.values():
            _options.check_one_server(one.settings)
    run(chosen, Streams.standard(), read_machine())


# What is for outputs and votes too.
_OF_FILES = {
    "words",
    "prompts",
    "json_output",
    "blind",
    "output",
    "order_seed",
    "resume",
    "overwrite",
    "color",
    "verbose",
    "debug",
}


def _models(flags: dict[str, Any]) -> "dict[str, LoadOptions]":
    """Return where the answers of each model come from, by what -m says. Raise UsageError."""
    from tulu_cli.comparison.models import read_choices

    models = {}
    for one in read_choices(flags["model"] or ()):
        own = {**one.settings, "model": one.name}
        if "temperature" in own:
            own["greedy"] = False
        models[one.label] = _options.load_options(flags | own)
    if models:
        _options.check_several(flags, *(load.settings for load in models.values()))
    return models
