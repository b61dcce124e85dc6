"""`tulu batch`: answer every row of a file exactly once, and keep the engine full."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tulu_cli.batch.options import Verifier
    from tulu_cli.batch.scoring import Scored
    from tulu_cli.core import Completion
    from tulu_cli.engines.ray import RayOptions
    from tulu_cli.loading import LoadOptions

EXAMPLES = (
    (
        "Answer a file, and continue after an interruption",
        "tulu batch questions.jsonl -o answers.jsonl -m 8b --resume",
    ),
    (
        "Classify the rows of a table",
        "tulu batch news.csv --template 'Classify: {title}' --choice sport --choice politics",
    ),
    (
        "Draw 16 answers a row and verify them",
        "tulu batch gsm8k.jsonl -o answers.jsonl -m 8b -n 16 --temperature 1 --verify gsm8k",
    ),
    (
        "Share the rows among the tasks of a Slurm array",
        "tulu batch rows.jsonl -o out.{shard}.jsonl -m 8b --shard auto --resume",
    ),
    (
        "Answer a file on all GPUs of a Ray cluster",
        "tulu batch rows.jsonl -o out.jsonl -m 70b -tp 4 --ray auto --resume",
    ),
    ("Put their outputs together", "tulu batch --merge out.*.jsonl rows.jsonl -o all.jsonl"),
    ("Rank given answers by their likelihood", "tulu batch choices.jsonl --score -m 8b"),
)
EXIT_CODES = _options.EXIT_CODES | {
    65: "The input cannot be read, or some rows had errors; stderr says where.",
    141: "The reader of stdout, or of a pipe that -o names, went away.",
}
SHARDS = "Shards"
RAY = "Ray"


def batch(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="The rows, as JSON Lines or CSV; read from stdin if it is - or left out. With "
            "--merge, the outputs to put together, and maybe their input.",
            metavar="FILE|-",
            show_default=False,
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
            rich_help_panel="Input",
        ),
    ] = "auto",
    template: Annotated[
        str | None,
        typer.Option(
            help='Make the prompt from columns of the row: "Classify: {title}".',
            metavar="TEXT WITH {COLUMNS}",
            rich_help_panel="Input",
        ),
    ] = None,
    score: Annotated[
        bool,
        typer.Option(
            "--score",
            help="Compute the log-likelihood of the answers in the rows; generate nothing.",
            rich_help_panel="Input",
        ),
    ] = False,
    no_end: Annotated[
        bool,
        typer.Option(
            "--no-end",
            help="With --score, leave the end token of answers in conversations out.",
            rich_help_panel="Input",
        ),
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Finish N rows before reading the next ones.  [default: keep the engine full]",
            metavar="N",
            rich_help_panel="Input",
        ),
    ] = None,
    system: _options.System = None,
    allow_special: _options.AllowSpecial = False,
    strict_roles: _options.StrictRoles = False,
    think: _options.Think = None,
    template_arg: _options.TemplateArg = None,
    max_tokens: _options.MaxTokens = None,
    max_reasoning_tokens: _options.MaxReasoningTokens = None,
    temperature: _options.Temperature = None,
    greedy: _options.Greedy = False,
    top_p: _options.TopP = None,
    top_k: _options.TopK = None,
    min_p: _options.MinP = None,
    repetition_penalty: _options.RepetitionPenalty = None,
    frequency_penalty: _options.FrequencyPenalty = None,
    presence_penalty: _options.PresencePenalty = None,
    logit_bias: _options.LogitBias = None,
    seed: _options.Seed = None,
    stop: _options.Stop = None,
    n: _options.Choices = 1,
    ignore_eos: _options.IgnoreEos = False,
    schema: _options.Schema = None,
    regex: _options.Regex = None,
    choice: _options.Choice = None,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Write the records to FILE instead of stdout.",
            metavar="FILE|-",
            show_default=False,
            rich_help_panel=_options.OUTPUT,
        ),
    ] = "-",
    output_format: Annotated[
        str,
        typer.Option(
            help="Format of the records: tulu, or openai for those of OpenAI's batch API.",
            metavar="tulu|openai",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = "tulu",
    in_order: Annotated[
        bool,
        typer.Option(
            "--in-order",
            help="Write the records in the order of the input.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    logprobs: _options.Logprobs = None,
    verify: Annotated[
        str | None,
        typer.Option(
            help="Verify each answer by a rule of tulu verify; auto takes the one that the row's "
            "dataset names.",
            metavar="RULE",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    stats: Annotated[
        str | None,
        typer.Option(
            help="Write counts and times to FILE as JSON.",
            metavar="FILE",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an unfinished output; start it if there is none.",
            rich_help_panel="Resuming and errors",
        ),
    ] = False,
    retry_errors: Annotated[
        bool,
        typer.Option(
            "--retry-errors",
            help="With --resume, try the rows that had errors again.",
            rich_help_panel="Resuming and errors",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an existing output.",
            rich_help_panel="Resuming and errors",
        ),
    ] = False,
    fail_fast: Annotated[
        bool,
        typer.Option(
            "--fail-fast",
            help="Stop at the first row with an error.",
            rich_help_panel="Resuming and errors",
        ),
    ] = False,
    max_errors: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Stop when more than N rows have errors.",
            metavar="N",
            rich_help_panel="Resuming and errors",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Answer only this shard of the rows, such as 3/8; auto takes the number from a "
            "Slurm array or SkyPilot, and needs {shard} in -o.",
            metavar="N/COUNT|auto",
            rich_help_panel=SHARDS,
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Put the outputs of shards together, in the order of the input; name the input "
            "too to have missing rows counted.",
            rich_help_panel=SHARDS,
        ),
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Answer with workers on the Ray cluster at HOST:PORT; auto takes the cluster that "
            "this machine is part of, or else starts one here, as local does.",
            metavar="auto|local|HOST:PORT",
            rich_help_panel=RAY,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Load the model N times.  [default: as often as the cluster has room for]",
            metavar="N",
            rich_help_panel=RAY,
        ),
    ] = None,
    gpus_per_worker: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Give each worker K GPUs.  [default: as many as -tp and -pp split the model over]",
            metavar="K",
            rich_help_panel=RAY,
        ),
    ] = None,
    model: _options.Model = None,
    adapter: _options.Adapter = None,
    engine: _options.Engine = None,
    dtype: _options.Dtype = None,
    quantization: _options.Quantization = None,
    draft: _options.Draft = None,
    draft_tokens: _options.DraftTokens = None,
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
    """Answer every row of a file exactly once; interrupted runs can be resumed.

    A row is a JSON object with messages, prompt (and system), text (completed without a chat
    template) or conversations, or it is a request of OpenAI's batch API. Its sampling object sets
    parameters for this row; its other columns are copied to the record. A row that cannot be
    answered becomes an error record with its line number, and the other rows go on.

    With --score, a row ends with the assistant's message, or has its answer in completion, or
    several answers in completions, of which the most likely is named. An answer in a conversation
    is scored with the end token, as in fine-tuning, or without it by --no-end; a continuation of
    text is scored without one.

    With --shard, workers share the rows: a row's shard follows from its id, or where it has none
    from its text. {shard} in -o and --stats becomes the shard, as in out.3-of-8.jsonl.

    With --ray, workers on a Ray cluster load the model and answer together. Only this command reads
    the input and writes the output. The rows of a worker that is lost go to the others.
    """
    flags = dict(locals())
    if merge:
        _merge(flags)
        return
    import os
    from dataclasses import replace

    from tulu_cli.batch.options import BatchOptions
    from tulu_cli.batch.rows import read_template
    from tulu_cli.batch.session import run
    from tulu_cli.batch.shards import check_places, read_shard
    from tulu_cli.machine import read_machine
    from tulu_cli.request.constraint import read_constraint
    from tulu_cli.streams import Streams

    if files and len(files) > 1:
        raise UsageError("Name one file of rows, or put outputs together with --merge.")
    part = None if shard is None else read_shard(shard, os.environ)
    check_places(part, shard, {"-o": output, "--stats": stats})
    if part is not None:
        output, stats = part.named(output), None if stats is None else part.named(stats)
    load = _options.load_options(flags)
    _options.check_several(flags, load.settings)
    on_ray = _ray(load, ray, workers, gpus_per_worker)
    chosen = BatchOptions(
        load=replace(load, no_server=True) if on_ray else load,
        ray=on_ray,
        source=files[0] if files else "-",
        output=output,
        shard=part,
        resume=resume,
        retry_errors=retry_errors,
        overwrite=overwrite,
        input_format=input_format,
        template=None if template is None else read_template(template),
        output_format=output_format,
        score=score,
        no_end=no_end,
        in_order=in_order,
        window=window,
        max_errors=0 if fail_fast else max_errors,
        stats=stats,
        stop=tuple(stop or ()),
        n=n,
        logprobs=logprobs,
        ignore_eos=ignore_eos,
        logit_bias=_options.read_logit_bias(logit_bias),
        verify=None if verify is None else _verifier(verify),
        constraint=read_constraint(schema, regex, tuple(choice or ())),
        allow_special=allow_special,
        strict_roles=strict_roles,
        variables=_options.read_template_args(template_arg, think),
    )
    run(chosen, Streams.standard(), read_machine())


def _ray(
    load: "LoadOptions", address: str | None, workers: int | None, gpus: int | None
) -> "RayOptions | None":
    """Return which cluster answers, None for none. Raise UsageError for what does not go with it.

    That are its options without it, flags that name another place, and the engine's argument for
    where its processes are.
    """
    from tulu_cli.engines.ray import RayOptions, check_address
    from tulu_cli.loading.engine_args import check_engine_args

    if address is None:
        for option, value in (("--workers", workers), ("--gpus-per-worker", gpus)):
            if value is not None:
                raise UsageError(f"{option} goes with --ray.")
        return None
    check_address(address)
    check_engine_args(load.engine_args, "ray")
    for name in ("server", "keep_alive"):
        if load.settings.is_flag(name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"--ray loads the model in workers of its own: leave {option} out.")
    return RayOptions(address, workers, gpus)


_OF_MERGE = {"files", "merge", "output", "overwrite", "input_format", "verbose", "debug"}


def _merge(flags: dict[str, object]) -> None:
    """Put outputs together. Raise UsageError for an option that is for answering."""
    from tulu_cli.batch.merge import MergeOptions, run
    from tulu_cli.streams import Streams

    _options.refuse_given(batch, flags, _OF_MERGE, "--merge answers nothing")
    names = flags["files"] or []
    assert isinstance(names, list)
    chosen = MergeOptions(
        files=tuple(names),
        output=str(flags["output"]),
        overwrite=bool(flags["overwrite"]),
        input_format=str(flags["input_format"]),
    )
    run(chosen, Streams.standard())


def _verifier(rule: str) -> "Verifier":
    """Return what verifies answers by a rule. Raise TuluError if there is no such rule."""
    from tulu_cli.batch.options import Verifier
    from tulu_cli.batch.scoring import Scored
    from tulu_cli.verify.records import Judge
    from tulu_cli.verify.rules import AUTO, Chooser, named
    from tulu_cli.verify.verdict import Answer

    if rule != AUTO:
        named(rule)
    judge = Judge(Chooser(rule))

    def columns(
        row: "Mapping[str, Any]", answer: "Sequence[Completion] | Scored"
    ) -> "Mapping[str, Any]":
        assert not isinstance(answer, Scored), "--verify does not go with --score"
        return judge.columns(row, [Answer(one.text, one.done.finish_reason) for one in answer])

    return Verifier(rule, columns)
