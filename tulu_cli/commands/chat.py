"""`tulu chat`: a conversation with a model, kept on disk."""

import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import HistoryError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tulu_cli.chat.chat import Chat, Reader
    from tulu_cli.chat.line.terminal import Interrupts
    from tulu_cli.chat.model import LoadedModel
    from tulu_cli.chat.session import Session
    from tulu_cli.chat.store.base import Store
    from tulu_cli.loading import LoadOptions
    from tulu_cli.machine import Machine
    from tulu_cli.render.thoughts import Reasoning
    from tulu_cli.streams import Streams


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


class Overflow(StrEnum):
    """How to treat a conversation that is longer than the context."""

    ASK = "ask"
    ERROR = "error"
    DROP_OLDEST = "drop-oldest"


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


@dataclass(frozen=True)
class ChatOptions:
    """What the command line asks for, understood."""

    load: "LoadOptions"
    session: str | None = None
    continue_last: bool = False
    resume: str | None = None
    no_history: bool = False
    plain: bool = False
    overflow: Overflow | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    allow_special: bool = False
    variables: "Mapping[str, Any]" = field(default_factory=dict)
    reasoning: "Reasoning | None" = None
    debug: bool = False


def run(chosen: ChatOptions, streams: "Streams", machine: "Machine") -> int:
    """Chat until the user leaves; returns the exit code. Raises what keeps it from beginning."""
    from tulu_cli.chat.line.terminal import Interrupts
    from tulu_cli.chat.loop import converse
    from tulu_cli.chat.model import LoadedModel
    from tulu_cli.chat.store.open import history_path, open_store
    from tulu_cli.prompt.thinking import check_variables, no_thoughts

    interrupts = Interrupts()
    opened = open_store(
        history_path(),
        streams.say,
        incognito=chosen.no_history,
        may_wait=lambda: not interrupts.pressed,
    )
    with kept(opened, streams) as store:
        session = session_to_resume(chosen, store)
        model = LoadedModel(chosen.load, machine, streams)
        model.prepared.model.refuse(
            ignore_eos=chosen.ignore_eos,
            allow_special=chosen.allow_special,
            engine_arg=chosen.load.engine_args,
            overflow=chosen.overflow not in (None, Overflow.ERROR),
        )
        if model.tokens is not None and chosen.variables:
            check_variables(model.tokens.tokenizer, chosen.variables)
        if model.prepared.settings.is_flag("max_reasoning_tokens") and not model.thinks:
            raise no_thoughts("--max-reasoning-tokens")
        begun = make_chat(chosen, model, store, streams, interrupts)
        keys = begun.type_ahead.kept() if has_prompt_line(streams) else nullcontext()
        with ending(model), keys:
            model.engine()
            begin(begun, session, chosen)
            return converse(begun)


@contextmanager
def kept(store: "Store", streams: "Streams") -> "Iterator[Store]":
    """Close the store at the end. Raise HistoryError for what it could not write.

    Where another error ends the chat, that stays its reason, and the store's is said before.
    """
    try:
        yield store
    except BaseException:
        try:
            store.close()
        except HistoryError as error:
            streams.say(f"tulu: {error}")
        raise
    store.close()


@contextmanager
def ending(model: "LoadedModel") -> "Iterator[None]":
    """Unload the model at the end."""
    try:
        yield
    finally:
        model.unload()


def session_to_resume(chosen: ChatOptions, store: "Store") -> "Session | None":
    """Return the session to continue, None for a new one. Raise UsageError if it does not exist."""
    from tulu_cli.chat.store.base import checked_name, find_session

    summaries = store.summaries()
    if chosen.continue_last:
        if not summaries:
            raise UsageError("There is no session to continue yet.")
        return store.load(summaries[0].id)
    if chosen.resume is not None:
        return store.load(find_session(summaries, chosen.resume))
    if chosen.session is None:
        return None
    name = checked_name(chosen.session)
    return next((store.load(one.id) for one in summaries if one.name == name), None)


def make_chat(
    chosen: ChatOptions,
    model: "LoadedModel",
    store: "Store",
    streams: "Streams",
    interrupts: "Interrupts",
) -> "Chat":
    """Return the chat with everything that it needs."""
    from tulu_cli.chat.chat import Chat
    from tulu_cli.chat.line.plain import Lines
    from tulu_cli.chat.line.terminal import TypeAhead
    from tulu_cli.models import FAMILY
    from tulu_cli.render import choose

    typed_on = streams.stdin_tty and streams.stdout_tty
    overflow = chosen.overflow or (Overflow.ASK if typed_on else Overflow.ERROR)
    settings = model.prepared.settings
    aliases = [*settings.aliases.items()]
    made = Chat(
        model=model,
        store=store,
        streams=streams,
        reader=Lines(streams, interrupts, interactive=typed_on),
        overflow=overflow.value,
        renderer=lambda request: choose.chat(
            streams, request, plain=chosen.plain, reasoning=chosen.reasoning
        ),
        settings=settings,
        interrupts=interrupts,
        type_ahead=TypeAhead(streams),
        stop=chosen.stop,
        ignore_eos=chosen.ignore_eos,
        allow_special=chosen.allow_special,
        variables=chosen.variables,
        debug=chosen.debug,
        model_names=(*aliases, *((row.alias, row.repository) for row in FAMILY)),
    )
    if has_prompt_line(streams):
        made.reader = make_prompt_line(made, incognito=chosen.no_history)
    return made


def has_prompt_line(streams: "Streams") -> bool:
    """Return True if lines are typed on a terminal that can edit them."""
    is_dumb = os.environ.get("TERM", "dumb") == "dumb"
    return streams.stdin_tty and streams.stdout_tty and not is_dumb


def make_prompt_line(chat: "Chat", *, incognito: bool) -> "Reader":
    """Return the prompt line, with completion for the slash commands of this chat."""
    from tulu_cli.chat import slash
    from tulu_cli.chat.line.history import InputHistory
    from tulu_cli.chat.line.line import PromptLine
    from tulu_cli.chat.store.open import history_path
    from tulu_cli.chat.toolbar import Toolbar

    typed = None if incognito else history_path().with_name("typed.jsonl")
    return PromptLine(
        InputHistory(typed),
        lambda line: slash.candidates(chat, line),
        Toolbar(chat),
        color=chat.streams.color,
        vi_mode=chat.settings.get("editing_mode") == "vi",
    )


def begin(chat: "Chat", session: "Session | None", chosen: ChatOptions) -> None:
    """Begin the first session of the chat, and say what a user should know."""
    model = chat.model
    if chat.is_watched:
        chat.say(f"{model.name} on {model.engine_name}. /help lists the commands, Ctrl-D leaves.")
        if model.tokens is None:
            chat.say("The server counts the tokens; how long its context is, it does not say.")
    if session is None:
        chat.begin(model.system_prompt(), chosen.session)
        return
    chat.resume(session)
    if chosen.load.settings.is_flag("system"):
        chat.keep(replace(chat.session, system=model.system_prompt()))
