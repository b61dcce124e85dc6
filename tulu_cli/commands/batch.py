"""`tulu batch`: a file of prompts, each answered once, with an engine that is kept full."""

from typing import Annotated

import typer

from tulu_cli.commands import _options


def batch(
    source: Annotated[
        str, typer.Argument(help="JSON Lines or CSV; - is stdin.", metavar="FILE|-")
    ] = "-",
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", help="Where the records go; stdout if left out.", metavar="FILE|-"
        ),
    ] = "-",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an output that was not finished.")
    ] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="With --resume: try rows with errors again.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output that is there.")
    ] = False,
    input_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="auto, openai, messages, prompt, text, sharegpt or csv.  [default: auto, by what "
            "each row holds, and by the file's name]",
            metavar="ROW-FORMAT",
            show_default=False,
        ),
    ] = "auto",
    template: Annotated[
        str | None,
        typer.Option(
            help='Make the prompt of columns: "Classify: {title}".', metavar="TEXT WITH {COLUMNS}"
        ),
    ] = None,
    output_format: Annotated[
        str,
        typer.Option(
            help="tulu, or openai for the lines of OpenAI's batch output.", metavar="tulu|openai"
        ),
    ] = "tulu",
    score: Annotated[
        bool,
        typer.Option(
            "--score",
            help="Generate nothing: say how likely the answer is that each row gives.",
        ),
    ] = False,
    in_order: Annotated[
        bool, typer.Option("--in-order", help="Write in the order of the input.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Finish so many rows before the next are read.  [default: the engine is kept "
            "full to the end]",
            metavar="N",
        ),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first row with an error.")
    ] = False,
    max_errors: Annotated[
        int | None, typer.Option(min=0, help="Stop at more errors than that.", metavar="N")
    ] = None,
    stats: Annotated[
        str | None, typer.Option(help="Write counts and times as JSON.", metavar="FILE")
    ] = None,
    system: _options.System = None,
    model: _options.Model = None,
    max_tokens: _options.MaxTokens = None,
    temperature: _options.Temperature = None,
    greedy: _options.Greedy = False,
    top_p: _options.TopP = None,
    top_k: _options.TopK = None,
    min_p: _options.MinP = None,
    repetition_penalty: _options.RepetitionPenalty = None,
    seed: _options.Seed = None,
    stop: _options.Stop = None,
    n: _options.Choices = 1,
    logprobs: _options.Logprobs = None,
    ignore_eos: _options.IgnoreEos = False,
    schema: _options.Schema = None,
    regex: _options.Regex = None,
    choice: _options.Choice = None,
    engine: _options.Engine = None,
    dtype: _options.Dtype = None,
    quantization: _options.Quantization = None,
    tensor_parallel_size: _options.TensorParallelSize = None,
    pipeline_parallel_size: _options.PipelineParallelSize = None,
    gpu_memory_utilization: _options.GpuMemoryUtilization = None,
    max_model_len: _options.MaxModelLen = None,
    device: _options.Device = None,
    engine_arg: _options.EngineArg = None,
    keep_alive: _options.KeepAlive = None,
    server: _options.Server = None,
    api_key_env: _options.ApiKeyEnv = None,
    no_server: _options.NoServer = False,
    force: _options.Force = False,
    trust_remote_code: _options.TrustRemoteCode = False,
    allow_special: _options.AllowSpecial = False,
    strict_roles: _options.StrictRoles = False,
    profile: _options.Profile = None,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Answer every row of a file, each once, whatever ends the program on the way.

    A row is an object with messages, prompt (with system), text (completed without a template),
    conversations, or a request of an OpenAI batch file; its sampling object sets parameters of its
    own, and its other columns are carried through. A row that cannot be answered becomes an error
    record with its line, stops no other, and makes the exit code 65.

    With --score a row ends with the assistant's message, or holds its answer under completion, or
    several to be compared under completions. An answer in a conversation is scored with the end
    token behind it, as fine-tuning counts it; what goes on a text, without.
    """
    flags = dict(locals())
    from tulu_cli.batch.options import BatchOptions
    from tulu_cli.batch.rows import read_template
    from tulu_cli.batch.session import run
    from tulu_cli.machine import read_machine
    from tulu_cli.request.constraint import read_constraint
    from tulu_cli.streams import Streams

    chosen = BatchOptions(
        load=_options.load_options(flags),
        source=source,
        output=output,
        resume=resume,
        retry_errors=retry_errors,
        overwrite=overwrite,
        input_format=input_format,
        template=None if template is None else read_template(template),
        output_format=output_format,
        score=score,
        in_order=in_order,
        window=window,
        max_errors=0 if fail_fast else max_errors,
        stats=stats,
        stop=tuple(stop or ()),
        n=n,
        logprobs=logprobs,
        ignore_eos=ignore_eos,
        constraint=read_constraint(schema, regex, tuple(choice or ())),
        allow_special=allow_special,
        strict_roles=strict_roles,
    )
    run(chosen, Streams.standard(), read_machine())
