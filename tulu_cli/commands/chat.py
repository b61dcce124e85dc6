"""`tulu chat`: a conversation with a model, kept on disk."""

from typing import Annotated

import typer

from tulu_cli.chat.window import Overflow
from tulu_cli.commands import _options
from tulu_cli.errors import UsageError

ENVIRONMENT = (
    ("TULU_DATA_DIR", "The folder for the history."),
    ("VISUAL, EDITOR", "The editor that Ctrl-G opens."),
)
EXAMPLES = (
    ("Start a conversation, or continue it, under a name", "tulu chat --session work"),
    ("Continue the last conversation", "tulu chat --continue"),
    (
        "Chat with a model of a running ollama",
        "tulu chat --server http://localhost:11434 -m llama3.2",
    ),
)
EXIT_CODES = _options.EXIT_CODES


def chat(
    session: Annotated[
        str | None,
        typer.Option(
            help="Continue the session with this name; start it if there is none.",
            metavar="SESSION",
            rich_help_panel="Session",
        ),
    ] = None,
    continue_: Annotated[
        bool,
        typer.Option(
            "-c", "--continue", help="Continue the last session.", rich_help_panel="Session"
        ),
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Continue the session with this id, or the only one whose id begins so.",
            metavar="ID",
            rich_help_panel="Session",
        ),
    ] = None,
    no_history: Annotated[
        bool,
        typer.Option(
            "--no-history",
            "--incognito",
            help="Write nothing to disk.",
            rich_help_panel="Session",
        ),
    ] = False,
    system: _options.System = None,
    overflow: Annotated[
        Overflow | None,
        typer.Option(
            help="If the conversation exceeds the context: ask, error, or drop-oldest turns.  "
            "[default: ask on a terminal, else error]",
            metavar="ask|error|drop-oldest",
            rich_help_panel=_options.PROMPT,
        ),
    ] = None,
    allow_special: _options.AllowSpecial = False,
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
    seed: _options.Seed = None,
    stop: _options.Stop = None,
    ignore_eos: _options.IgnoreEos = False,
    reasoning: _options.ShowReasoning = None,
    plain: _options.Plain = False,
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
) -> int:
    """Chat with a model; the conversation is kept and can be continued.

    Every turn is written to disk as it is made; `tulu history` lists, shows and exports them. In
    the chat, /help lists the commands. If stdin or stdout is not a terminal, each line of stdin is
    a turn, stdout carries only the answers, and the exit code is that of the first error.
    """
    flags = dict(locals())
    from tulu_cli.chat.run import ChatOptions, run
    from tulu_cli.machine import read_machine
    from tulu_cli.request.inputs import well_formed
    from tulu_cli.streams import Streams

    if (session is not None) + continue_ + (resume is not None) > 1:
        raise UsageError("--session, --continue and --resume cannot be combined.")
    if no_history and (continue_ or resume is not None):
        raise UsageError(
            "--no-history keeps no session: it cannot be combined with --continue or --resume."
        )
    chosen = ChatOptions(
        load=_options.load_options(flags),
        session=session,
        continue_last=continue_,
        resume=resume,
        no_history=no_history,
        plain=plain,
        overflow=overflow,
        stop=tuple(well_formed(text, "--stop") for text in stop or ()),
        ignore_eos=ignore_eos,
        allow_special=allow_special,
        variables=_options.read_template_args(template_arg, think),
        reasoning=None if reasoning is None else reasoning.value,
        debug=debug,
    )
    _options.check_one_server(chosen.load.settings)
    return run(chosen, Streams.standard(), read_machine())
