"""`tulu complete`: one prompt, one answer, for terminals, pipelines and scripts."""

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli import options
from tulu_cli.errors import StoppedByLength

if TYPE_CHECKING:
    from tulu_cli.commands._complete_options import CompleteOptions
    from tulu_cli.core import Completion, FinishReason, Request
    from tulu_cli.engines.base import Engine
    from tulu_cli.launch import Prepared
    from tulu_cli.machine import Machine
    from tulu_cli.streams import Streams

EXAMPLES = (
    (
        "Ask the small demo model, which runs anywhere",
        "tulu complete -m demo 'Why is the sky blue?'",
    ),
    ("Ask about what is piped in", "cat report.txt | tulu complete 'Summarise in three bullets'"),
    (
        "Choose between answers, in a script",
        "tulu complete --choice yes --choice no 'Is 17 prime?'",
    ),
    ("Keep all that is known of an answer", "tulu complete --json --seed 7 'A haiku' > haiku.json"),
)


def complete(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The prompt; - or none reads it from stdin.", metavar="PROMPT"),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "-f", "--file", help="Add a file as a named block; repeatable.", metavar="FILE|-"
        ),
    ] = None,
    messages: Annotated[
        str | None,
        typer.Option(
            help="A conversation as JSON: [{role, content}, ...]. PROMPT, if given, follows it.",
            metavar="FILE|-",
        ),
    ] = None,
    system: options.System = None,
    prefill: Annotated[
        str | None,
        typer.Option(
            help="The answer goes on from this text, which is not repeated.", metavar="TEXT"
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Complete the plain text, without a chat template.")
    ] = False,
    model: options.Model = None,
    max_tokens: options.MaxTokens = None,
    temperature: options.Temperature = None,
    greedy: options.Greedy = False,
    top_p: options.TopP = None,
    top_k: options.TopK = None,
    min_p: options.MinP = None,
    repetition_penalty: options.RepetitionPenalty = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    n: options.Choices = 1,
    logprobs: options.Logprobs = None,
    ignore_eos: options.IgnoreEos = False,
    schema: options.Schema = None,
    regex: options.Regex = None,
    choice: options.Choice = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with all that is known.")
    ] = False,
    plain: options.Plain = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print token counts and times on stderr.")
    ] = False,
    fail_on_length: Annotated[
        bool, typer.Option("--fail-on-length", help="Exit 8 if the answer was cut by a limit.")
    ] = False,
    engine: options.Engine = None,
    dtype: options.Dtype = None,
    quantization: options.Quantization = None,
    tensor_parallel_size: options.TensorParallelSize = None,
    pipeline_parallel_size: options.PipelineParallelSize = None,
    gpu_memory_utilization: options.GpuMemoryUtilization = None,
    max_model_len: options.MaxModelLen = None,
    device: options.Device = None,
    engine_arg: options.EngineArg = None,
    keep_alive: options.KeepAlive = None,
    server: options.Server = None,
    api_key_env: options.ApiKeyEnv = None,
    no_server: options.NoServer = False,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_special: options.AllowSpecial = False,
    strict_roles: options.StrictRoles = False,
    force: options.Force = False,
    profile: options.Profile = None,
    offline: options.Offline = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Answer one prompt: an argument, what is piped in, or both.

    The answer goes to stdout and nothing else does. Exit codes: 0 answered, 2 usage, 3 out of
    memory, 4 no engine, 5 model not found, 6 prompt too long, 7 engine died, 8 cut by length,
    65 bad input data, 130 interrupted (the partial answer is on stdout).
    """
    flags = dict(locals())
    from tulu_cli.commands._complete_options import CompleteOptions
    from tulu_cli.inputs import Given
    from tulu_cli.machine import read_machine
    from tulu_cli.settings import read_settings
    from tulu_cli.streams import Streams
    from tulu_cli.structure import read_constraint

    chosen = CompleteOptions(
        settings=read_settings(options.with_greedy(flags)),
        given=Given(prompt, tuple(file or ()), messages),
        prefill=prefill,
        raw=raw,
        stop=tuple(stop or ()),
        n=n,
        logprobs=logprobs,
        ignore_eos=ignore_eos,
        constraint=read_constraint(schema, regex, tuple(choice or ())),
        json_output=json_output,
        plain=plain,
        stats=stats,
        fail_on_length=fail_on_length,
        engine_args=options.read_engine_args(engine_arg or []),
        no_server=no_server,
        trust_remote_code=trust_remote_code,
        allow_special=allow_special,
        strict_roles=strict_roles,
        force=force,
        offline=offline,
        verbose=verbose,
    )
    run(chosen, Streams.standard(), read_machine())


def run(chosen: "CompleteOptions", streams: "Streams", machine: "Machine") -> None:
    """Answer the prompt. Raises TuluError, also for an answer that is not what was asked for."""
    from tulu_cli.commands._complete_options import check_combinations, check_server
    from tulu_cli.commands._complete_request import make_request
    from tulu_cli.inputs import PATIENCE_SECONDS, check_given, read_stdin, stdin_is_idle
    from tulu_cli.launch import fetch, load, prepare, say_choices
    from tulu_cli.render.talk import progress_on, status

    check_combinations(chosen)
    check_given(chosen.given, streams)
    with progress_on(streams) as progress:
        prepared = prepare(
            chosen.settings,
            machine,
            say=streams.say,
            progress=progress,
            offline=chosen.offline,
            trust_remote_code=chosen.trust_remote_code,
            engine_args=chosen.engine_args,
            no_server=chosen.no_server,
        )
    if chosen.verbose:
        say_choices(prepared, streams.say)
    chosen = replace(chosen, settings=prepared.settings)
    check_server(chosen, prepared)
    data = read_stdin(chosen.given, streams, PATIENCE_SECONDS)
    request = make_request(chosen, prepared, data)
    with progress_on(streams) as progress:
        prepared = fetch(prepared, progress=progress, offline=chosen.offline, force=chosen.force)
    with progress_on(streams) as progress, status(streams, prepared.loading):
        engine = load(prepared, progress=progress)
    with closing(engine):
        if stdin_is_idle(chosen.given, streams, data):
            data = read_stdin(chosen.given, streams, 0)
            if data is None:
                streams.say("tulu: stdin is open but silent, so it is left out; -f - waits for it.")
            else:
                request = make_request(chosen, prepared, data)
        answer(chosen, engine, prepared, request, streams)


def answer(
    chosen: "CompleteOptions",
    engine: "Engine",
    prepared: "Prepared",
    request: "Request",
    streams: "Streams",
) -> None:
    """Stream the answer. What has come is kept whatever ends it: a Ctrl-C, a signal, an error."""
    from tulu_cli.render.choose import one_shot
    from tulu_cli.render.talk import stats_line

    renderer = one_shot(
        streams,
        request,
        engine.info,
        prepared.tokenizer.token_text,
        as_json=chosen.json_output,
        prefill=chosen.prefill,
        # The continuation of a raw text is a part of whatever that text is.
        plain=chosen.plain or chosen.raw,
    )
    cut: FinishReason = "interrupted"
    events = engine.stream(request)
    try:
        with closing(events):  # type: ignore[type-var]
            for event in events:
                renderer.show(event)
    except Exception:
        cut = "error"
        raise
    finally:
        renderer.finish(cut)
        if chosen.stats:
            streams.say(f"tulu: {stats_line(renderer.completions)}")
    conclude(chosen, renderer.completions)


def conclude(chosen: "CompleteOptions", completions: "list[Completion]") -> None:
    """Raises the errors that a finished answer can still be."""
    from tulu_cli.structure import check, place_of_cut

    if chosen.constraint is not None:
        for completion in completions:
            check(chosen.constraint, completion)
    if chosen.fail_on_length and any(c.done.finish_reason == "length" for c in completions):
        raise StoppedByLength(f"The answer was cut{place_of_cut(completions)}: raise --max-tokens.")
