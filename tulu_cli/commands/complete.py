"""`tulu complete`: answer one prompt, on a terminal, in a pipeline or in a script."""

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import StoppedByLength, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tulu_cli.core import Completion, Constraint, FinishReason, Request
    from tulu_cli.engines.base import Engine
    from tulu_cli.loading import LoadOptions, Prepared
    from tulu_cli.machine import Machine
    from tulu_cli.render.thoughts import Reasoning
    from tulu_cli.request.inputs import Given
    from tulu_cli.streams import Streams


EXAMPLES = (
    (
        "Ask the small demo model, which runs on any machine",
        "tulu complete -m demo 'Why is the sky blue?'",
    ),
    ("Pipe in a text", "cat report.txt | tulu complete 'Summarise in three bullets'"),
    (
        "Let a script branch on the answer",
        "tulu complete --choice yes --choice no 'Is 17 prime?'",
    ),
    ("Save an answer with its tokens and settings", "tulu complete --json 'A haiku' > haiku.json"),
)
EXIT_CODES = _options.EXIT_CODES


def complete(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The prompt; read from stdin if it is - or left out.", metavar="PROMPT"
        ),
    ] = None,
    system: _options.System = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--file",
            help="Append a file to the prompt as a named, fenced block; repeatable.",
            metavar="FILE|-",
            rich_help_panel=_options.PROMPT,
        ),
    ] = None,
    messages: Annotated[
        str | None,
        typer.Option(
            help="Start from a conversation in JSON, [{role, content}, ...]; PROMPT becomes its "
            "next turn.",
            metavar="FILE|-",
            rich_help_panel=_options.PROMPT,
        ),
    ] = None,
    prefill: Annotated[
        str | None,
        typer.Option(
            help="Start the answer with TEXT (not echoed).",
            metavar="TEXT",
            rich_help_panel=_options.PROMPT,
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Complete the text as it is, without a chat template.",
            rich_help_panel=_options.PROMPT,
        ),
    ] = False,
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
    json_output: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object: answers, token ids, sampling parameters, times.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    logprobs: _options.Logprobs = None,
    reasoning: _options.ShowReasoning = None,
    plain: _options.Plain = False,
    stats: Annotated[
        bool,
        typer.Option(
            "--stats",
            help="Print token counts and times on stderr.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    fail_on_length: Annotated[
        bool,
        typer.Option(
            "--fail-on-length",
            help="Exit with code 8 if the answer reaches --max-tokens or the context length.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
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
    server: _options.Server = None,
    api_key_env: _options.ApiKeyEnv = None,
    no_server: _options.NoServer = False,
    profile: _options.Profile = None,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Answer one prompt, given as an argument, through a pipe, or both.

    Only the answer goes to stdout. Messages, progress and statistics go to stderr. Ctrl-C keeps
    the part of the answer that has arrived.
    """
    flags = dict(locals())
    from tulu_cli.machine import read_machine
    from tulu_cli.request.constraint import read_constraint
    from tulu_cli.request.inputs import Given
    from tulu_cli.streams import Streams

    chosen = CompleteOptions(
        load=_options.load_options(flags),
        given=Given(prompt, tuple(file or ()), messages),
        prefill=prefill,
        raw=raw,
        stop=tuple(stop or ()),
        n=n,
        logprobs=logprobs,
        ignore_eos=ignore_eos,
        logit_bias=_options.read_logit_bias(logit_bias),
        constraint=read_constraint(schema, regex, tuple(choice or ())),
        json_output=json_output,
        plain=plain,
        stats=stats,
        fail_on_length=fail_on_length,
        allow_special=allow_special,
        strict_roles=strict_roles,
        variables=_options.read_template_args(template_arg, think),
        reasoning=None if reasoning is None else reasoning.value,
    )
    run(chosen, Streams.standard(), read_machine())


@dataclass(frozen=True)
class CompleteOptions:
    """The options of `tulu complete`, read and checked one by one.

    The `variables` are for the chat template.
    """

    load: "LoadOptions"
    given: "Given"
    prefill: str | None = None
    raw: bool = False
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    ignore_eos: bool = False
    logit_bias: "Mapping[int, float]" = field(default_factory=dict)
    constraint: "Constraint | None" = None
    json_output: bool = False
    plain: bool = False
    stats: bool = False
    fail_on_length: bool = False
    allow_special: bool = False
    strict_roles: bool = False
    variables: "Mapping[str, Any]" = field(default_factory=dict)
    reasoning: "Reasoning | None" = None


def run(chosen: CompleteOptions, streams: "Streams", machine: "Machine") -> None:
    """Answer the prompt. Raise TuluError, also for an answer that is not what was asked for."""
    from tulu_cli.loading import open_engine, prepare
    from tulu_cli.request.inputs import PATIENCE_SECONDS, check_given, read_stdin, stdin_is_idle

    check_combinations(chosen)
    check_given(chosen.given, streams)
    prepared = prepare(chosen.load, machine, streams)
    check_server(chosen, prepared)
    data = read_stdin(chosen.given, streams, PATIENCE_SECONDS)
    request = make_request(chosen, prepared, data)
    with open_engine(prepared, streams) as engine:
        if stdin_is_idle(chosen.given, streams, data):
            data = read_stdin(chosen.given, streams, 0)
            if data is None:
                streams.say("tulu: stdin is open but silent, so it is left out; -f - waits for it.")
            else:
                request = make_request(chosen, prepared, data)
        answer(chosen, engine, prepared, request, streams)


def check_combinations(chosen: CompleteOptions) -> None:
    """Raise UsageError for options that contradict one another."""
    _options.check_one_adapter(chosen.load.settings)
    _options.check_one_server(chosen.load.settings)
    if chosen.raw:
        needs_template = {
            "--messages": chosen.given.messages is not None,
            "--prefill": chosen.prefill is not None,
            "--system": chosen.load.settings.is_flag("system"),
            "--strict-roles": chosen.strict_roles,
            "--think or --template-arg": bool(chosen.variables),
            "--reasoning": chosen.reasoning is not None,
            "--max-reasoning-tokens": chosen.load.settings.is_flag("max_reasoning_tokens"),
        }
        for name in filter(needs_template.get, needs_template):
            raise UsageError(f"--raw sends a plain text: {name} needs a chat template.")
    if chosen.logprobs is not None and not chosen.json_output:
        raise UsageError("--logprobs are part of the --json output: add --json.")
    if chosen.reasoning is not None and chosen.json_output:
        raise UsageError("--json has the reasoning beside the answer: leave --reasoning out.")


def check_server(chosen: CompleteOptions, prepared: "Prepared") -> None:
    """Raise UsageError for options that a server which makes the prompt itself cannot be told."""
    prepared.model.refuse(
        chosen.constraint,
        raw=chosen.raw,
        prefill=chosen.prefill is not None,
        allow_special=chosen.allow_special,
        strict_roles=chosen.strict_roles,
        ignore_eos=chosen.ignore_eos,
    )


def make_request(chosen: CompleteOptions, prepared: "Prepared", data: bytes | None) -> "Request":
    """Return the request for the prompt. Raise BadInput, UsageError or PromptTooLong."""
    from tulu_cli.request.inputs import conversation, empty_prompt, user_text, well_formed
    from tulu_cli.request.request import check_limit, request_maker
    from tulu_cli.request.sampling import decide, unchosen

    sampling = decide(
        prepared.settings,
        prepared.model.generation_config,
        stop=tuple(well_formed(text, "--stop") for text in chosen.stop),
        n=chosen.n,
        logprobs=chosen.logprobs,
        ignore_eos=chosen.ignore_eos,
        logit_bias=chosen.logit_bias,
        constraint=chosen.constraint,
    )
    maker = request_maker(
        prepared,
        allow_special=chosen.allow_special,
        strict_roles=chosen.strict_roles,
        one_shot=True,
        variables=chosen.variables,
    )
    if chosen.raw:
        text = user_text(chosen.given, data)
        if not text:
            raise empty_prompt()
        return maker.bounded(maker.completion(text, sampling))
    messages = maker.conversation(conversation(chosen.given, data, chosen.prefill))
    prefilled = chosen.prefill is not None
    open_ones = unchosen(prepared.settings)
    made = maker.answer(messages, sampling, unchosen=open_ones, continue_final=prefilled)
    if not prefilled:  # which may have begun the answer
        check_limit(prepared, made)
    return maker.bounded(made)


def answer(
    chosen: CompleteOptions,
    engine: "Engine",
    prepared: "Prepared",
    request: "Request",
    streams: "Streams",
) -> None:
    """Stream the answer. What has come is kept whatever ends it: a Ctrl-C, a signal, an error."""
    from tulu_cli.loading import TokenModel
    from tulu_cli.render.choose import one_shot
    from tulu_cli.render.talk import stats_line

    model = prepared.model
    renderer = one_shot(
        streams,
        request,
        engine.info,
        model.tokenizer.token_text if isinstance(model, TokenModel) else str,
        as_json=chosen.json_output,
        prefill=chosen.prefill,
        # The continuation of a raw text is a part of whatever that text is.
        plain=chosen.plain or chosen.raw,
        reasoning=chosen.reasoning,
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
    conclude(chosen, renderer.completions, streams)


def conclude(chosen: CompleteOptions, completions: "list[Completion]", streams: "Streams") -> None:
    """Raise the error that a finished answer can still be; say where there is only a thought."""
    from tulu_cli.request.constraint import check, place_of_cut

    if chosen.constraint is not None:
        for completion in completions:
            check(chosen.constraint, completion)
    cut = [one for one in completions if one.done.finish_reason == "length"]
    is_thought = any(one.is_thought_alone for one in cut)
    what = "thought was cut before an answer" if is_thought else "answer was cut"
    sentence = f"The {what}{place_of_cut(completions)}: raise --max-tokens."
    if cut and chosen.fail_on_length:
        raise StoppedByLength(sentence)
    if is_thought:
        streams.say(f"tulu: {sentence}")
    elif any(one.is_thought_alone for one in completions):
        streams.say("tulu: The model ended after its thought, and gave no answer.")
