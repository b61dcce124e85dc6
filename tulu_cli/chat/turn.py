"""One turn: what is asked is stored first, then the answer as it comes, and its end always."""

import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.session import THOUGHT, Record, Session, new_stamp
from tulu_cli.chat.store.base import Store
from tulu_cli.chat.window import Fit, answer_budget, complaint, describe, drop_oldest, too_long
from tulu_cli.core import (
    Channel,
    Conversation,
    Done,
    FinishReason,
    Message,
    Request,
    Text,
    TokenIds,
)
from tulu_cli.errors import HistoryError, PromptTooLong, UsageError
from tulu_cli.prompt import compose_user_text
from tulu_cli.render import Renderer
from tulu_cli.render.choose import prompt_tokens
from tulu_cli.request.sampling import unchosen
from tulu_cli.text import plural

# What was read on the screen for longer than a second must not be lost, whatever happens then.
EVERY_SECONDS = 0.5


class Writing:
    """Keeps the answers that were begun in a session, and that this program is to end.

        with Writing(store, session) as writing:
            writing.add(node_id, text)      # as often as the engine says something
            writing.end(node_id, done)
        session = writing.session

    A thread of its own writes what has come, so that an engine that is silent delays nothing. At
    the end all is written, whatever ended it; an answer without an `end` counts as interrupted.
    """

    def __init__(self, store: Store, session: Session, every: float = EVERY_SECONDS) -> None:
        self._store = store
        self._session = session
        self._every = every
        self._pieces: dict[str, list[tuple[str, Channel]]] = {}
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_often)

    @property
    def session(self) -> Session:
        """The session with all that has come."""
        with self._lock:
            self._take()
            return self._session

    def add(self, node_id: str, text: str, channel: Channel = "answer") -> None:
        """Add text to an answer, or to the thought before it; this costs next to nothing."""
        with self._lock:
            self._pieces.setdefault(node_id, []).append((text, channel))

    def end(self, node_id: str, done: Done) -> None:
        """End an answer."""
        with self._lock:
            self._take()
            self._session = self._session.extend(node_id, "", done)
            self._changed.add(node_id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()  # a Ctrl-C here stops the waiting and not the thread
        self._write()

    def _write_often(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stop.wait(self._every)
            with suppress(HistoryError):  # the end tries again, and raises it
                self._write()

    def _write(self) -> None:
        with self._lock:
            self._take()
            session, changed, self._changed = self._session, self._changed, set()
        try:
            if changed:
                self._store.write(session, *(session.nodes[node_id] for node_id in changed))
        except HistoryError:
            with self._lock:
                self._changed |= changed
            raise

    def _take(self) -> None:
        pieces, self._pieces = self._pieces, {}
        for node_id, said in pieces.items():
            answer = "".join(text for text, channel in said if channel == "answer")
            thought = "".join(text for text, channel in said if channel == "thought")
            self._session = self._session.extend(node_id, answer, thought=thought)
            self._changed.add(node_id)


def send(chat: Chat, text: str) -> None:
    """Send what the user says, with what is attached, and have the model answer."""
    content = compose_user_text(text, None, chat.attached)
    editing = chat.editing
    if editing is None:
        session = chat.session.ask(content, new_stamp())
    else:
        session = chat.session.edit(editing, content, new_stamp())
    chat.keep(session, session.nodes[session.head or ""])
    chat.attached = []
    answer(chat)


def answer(chat: Chat) -> None:
    """Answer the user's last turn, beside the answers that it has. Raises UsageError for none."""
    turn = chat.session.turn
    if turn is None:
        raise UsageError("There is nothing to answer yet: type a message.")
    request, record = prepare(chat, chat.session.conversation(turn.id))
    step = len(chat.session.children(turn.id))
    if step and "seed" in chat.settings.values:  # the same seed would give the same answer
        sampling = replace(request.sampling, seed=request.sampling.seed + step)
        request, record = replace(request, sampling=sampling), replace(record, sampling=sampling)
    session = chat.session.answer(record, new_stamp())
    chat.keep(session, session.nodes[session.head or ""])
    stream(chat, request)


def go_on(chat: Chat) -> None:
    """Let the model go on with its last answer from where that ends, by prefill."""
    head = chat.session.nodes.get(chat.session.head or "")
    if head is not None and (head.is_void or head.role == "user"):
        answer(chat)
        return
    if head is None:
        raise UsageError("There is no answer to continue yet.")
    request, record = prepare(chat, chat.session.conversation(), continue_final=True)
    session = chat.session.resume(record, new_stamp())
    chat.keep(session, session.nodes[session.head or ""])
    stream(chat, request)


def prepare(
    chat: Chat, messages: Conversation, *, continue_final: bool = False
) -> tuple[Request, Record]:
    """Return what the engine is asked, and how that is recorded.

    Raise PromptTooLong where the messages do not fit and none may be left out, BadInput where the
    chat template refuses them, UsageError for what the server cannot be asked.
    """
    sampling = chat.sampling()
    model = chat.model.tokens
    if model is None:
        if continue_final:
            raise UsageError("The server makes the prompt itself: /retry answers anew.")
        # Some servers refuse a thought in what they are sent, and their templates drop it.
        request = chat.requests.answer(
            tuple(without_thought(message) for message in messages),
            sampling,
            unchosen=unchosen(chat.settings),
        )
        return request, Record(chat.model.info, sampling, chat.session.system)
    fit = fitting(chat, messages, model.max_model_len, continue_final=continue_final)
    with chat.interrupts.welcome():
        info = chat.model.info
    chat.left_out = len(fit.dropped)
    thoughts = chat.requests.thoughts(messages, fit.token_ids, continue_final=continue_final)
    request = chat.requests.request(fit.token_ids, sampling, thoughts)
    return request, Record(info, sampling, chat.session.system, adapter=request.adapter)


def without_thought(message: Message) -> Message:
    """Return the message without the thought before its text."""
    extra = {name: value for name, value in message.extra.items() if name != THOUGHT}
    return replace(message, extra=extra)


def fitting(
    chat: Chat, messages: Conversation, context: int, *, continue_final: bool = False
) -> Fit:
    """Return what goes to the model, each conversation encoded once; tell the user what does not.

    Raise PromptTooLong where the messages do not fit and nobody allows to leave some out.
    """

    def encode(messages: Conversation) -> TokenIds:
        return chat.requests.token_ids(messages, continue_final=continue_final)

    room = answer_budget(chat.settings.get("max_tokens"), context)
    ids = encode(messages)
    if len(ids) + room <= context:
        return Fit(messages, ids)
    shorter = drop_oldest(messages, encode, context - room)
    if shorter is None:
        raise too_long(len(ids), room, context)
    left_out = describe(shorter.dropped)
    if chat.overflow == "ask":
        chat.say(complaint(len(ids), room, context))
        question = f"Drop {left_out} from the prompt, and more later if needed?"
        if not chat.reader.confirm(question):
            raise PromptTooLong("Nothing was sent. /new starts anew, /retry asks again.")
        chat.overflow = "drop-oldest"
    if chat.overflow == "error":
        raise PromptTooLong(
            f"{complaint(len(ids), room, context)} --overflow drop-oldest would leave out "
            f"{left_out}."
        )
    chat.say(f"Left out, to fit in {context:,} tokens: {left_out}.")
    return shorter


def stream(chat: Chat, request: Request) -> None:
    """Show and store the answer at the head as it comes; whatever ends it, what came is kept."""
    renderer = chat.renderer(request)
    answer_id = chat.session.head or ""
    cut: FinishReason = "interrupted"
    writing = Writing(chat.store, chat.session)
    try:
        with (
            writing,
            chat.type_ahead.during_answer(),
            closing(events_of(chat, request)) as events,
        ):
            try:
                for event in events:
                    if isinstance(event, Text):
                        writing.add(answer_id, event.text, event.channel)
                    renderer.show(event)
            except KeyboardInterrupt:
                if not chat.is_watched:
                    raise
            except Exception:
                cut = "error"
                raise
            finally:
                chat.last = ended(renderer, cut)
                writing.end(answer_id, chat.last)
    finally:
        chat.session = writing.session
    say_how_it_ended(chat, chat.last, is_thought=renderer.completions[0].is_thought_alone)


def ended(renderer: Renderer, cut: FinishReason) -> Done:
    """Show what is left of the answer, if anybody still reads it, and return how it ended."""
    with suppress(BrokenPipeError):  # the error that ends the answer has said so
        renderer.finish(cut)
    return renderer.completions[0].done


def events_of(chat: Chat, request: Request) -> Generator[Text | Done, None, None]:
    """Yield the events of the answer. A Ctrl-C comes while one is waited for, not in between."""
    tokens = prompt_tokens(request)
    status = f"Reading {plural(tokens, 'token')} ..." if tokens else "Waiting for the server ..."
    status = status if chat.is_watched else ""
    chat.streams.show_status(status)
    try:
        with closing(chat.model.stream(request)) as events:
            while (event := waited_for(chat, events)) is not None:
                if status and (isinstance(event, Done) or event.text):
                    chat.streams.show_status("")
                    status = ""
                yield event
    finally:
        if status:
            chat.streams.show_status("")


def waited_for(chat: Chat, events: Iterator[Text | Done]) -> Text | Done | None:
    """Return the next event, None at the end. Raise KeyboardInterrupt for a Ctrl-C since."""
    with chat.interrupts.welcome():
        return next(events, None)


def say_how_it_ended(chat: Chat, done: Done, *, is_thought: bool) -> None:
    """Say so where the model has not ended by itself, or where all that came is a thought."""
    tokens = plural(done.usage.completion_tokens, "token") if done.usage else ""
    if done.finish_reason == "length":
        where = f" at {tokens}" if tokens else ""
        on = "" if chat.model.tokens is None else ": /continue goes on"
        if is_thought:
            chat.say(f"The thought was cut{where}, before an answer: /retry answers anew.")
        else:
            chat.say(f"The answer was cut{where}{on}.")
    if done.finish_reason == "stop" and is_thought:
        chat.say("The model ended after its thought, and gave no answer: /retry answers anew.")
    if done.finish_reason == "interrupted":
        where = f" after {tokens}" if tokens else ""
        chat.say(f"Stopped{where}: {chat.ways_on}.")
