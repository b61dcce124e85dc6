"""A chat from its options to its end: its store, its session, its model and who reads along."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from tulu_cli.chat import slash
from tulu_cli.chat.chat import Chat, Reader
from tulu_cli.chat.line.plain import Lines
from tulu_cli.chat.line.terminal import Interrupts, TypeAhead
from tulu_cli.chat.loop import converse
from tulu_cli.chat.model import LoadedModel
from tulu_cli.chat.session import Session
from tulu_cli.chat.store.base import Store, checked_name, find_session
from tulu_cli.chat.store.open import history_path, open_store
from tulu_cli.chat.toolbar import Toolbar
from tulu_cli.chat.window import Overflow
from tulu_cli.errors import HistoryError, UsageError
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import Machine
from tulu_cli.models import FAMILY
from tulu_cli.prompt.thinking import check_variables, no_thoughts
from tulu_cli.render import choose
from tulu_cli.render.thoughts import Reasoning
from tulu_cli.streams import Streams


@dataclass(frozen=True)
class ChatOptions:
    """What the command line asks for, understood.

    Of `session`, `continue_last` and `resume` at most one is given.
    """

    load: LoadOptions
    session: str | None = None
    continue_last: bool = False
    resume: str | None = None
    no_history: bool = False
    plain: bool = False
    overflow: Overflow | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    allow_special: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    reasoning: Reasoning | None = None
    debug: bool = False


def run(chosen: ChatOptions, streams: Streams, machine: Machine) -> int:
    """Chat until the user leaves; return the exit code. Raise what keeps it from beginning."""
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
            overflow=chosen.overflow not in (None, "error"),
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
def kept(store: Store, streams: Streams) -> Iterator[Store]:
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
def ending(model: LoadedModel) -> Iterator[None]:
    """Unload the model at the end."""
    try:
        yield
    finally:
        model.unload()


def session_to_resume(chosen: ChatOptions, store: Store) -> Session | None:
    """Return the session to continue, None for a new one. Raise UsageError if it does not exist."""
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
    model: LoadedModel,
    store: Store,
    streams: Streams,
    interrupts: Interrupts,
) -> Chat:
    """Return the chat with everything that it needs."""
    typed_on = streams.stdin_tty and streams.stdout_tty
    overflow = chosen.overflow or ("ask" if typed_on else "error")
    settings = model.prepared.settings
    aliases = [*settings.aliases.items()]
    made = Chat(
        model=model,
        store=store,
        streams=streams,
        reader=Lines(streams, interrupts, interactive=typed_on),
        overflow=overflow,
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


def has_prompt_line(streams: Streams) -> bool:
    """Return True if lines are typed on a terminal that can edit them."""
    is_dumb = os.environ.get("TERM", "dumb") == "dumb"
    return streams.stdin_tty and streams.stdout_tty and not is_dumb


def make_prompt_line(chat: Chat, *, incognito: bool) -> Reader:
    """Return the prompt line, with completion for the slash commands of this chat."""
    from tulu_cli.chat.line.history import InputHistory
    from tulu_cli.chat.line.line import PromptLine

    typed = None if incognito else history_path().with_name("typed.jsonl")
    return PromptLine(
        InputHistory(typed),
        lambda line: slash.candidates(chat, line),
        Toolbar(chat),
        color=chat.streams.color,
        vi_mode=chat.settings.get("editing_mode") == "vi",
    )


def begin(chat: Chat, session: Session | None, chosen: ChatOptions) -> None:
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
