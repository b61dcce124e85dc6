"""Several servers that run one model, as one engine; a file of them is watched for changes."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from tulu_cli.core import Completion, Message, Request, Sampling
from tulu_cli.engines.assemble import collect
from tulu_cli.engines.base import Engine, EngineSpec, ServedModel
from tulu_cli.engines.choose import load
from tulu_cli.engines.fleet import Fleet, Member
from tulu_cli.engines.sharing import Patience
from tulu_cli.errors import EngineDied, EngineError, TuluError, UsageError
from tulu_cli.loading import servers
from tulu_cli.loading.prepare import ChatModel, Prepared, TokenModel
from tulu_cli.loading.servers import places_of, urls_in
from tulu_cli.text import listed
from tulu_cli.warm.endpoint import ChatServer, Endpoint

_PROBE = "Write a sentence about the sea.\n"
_PROBE_TOKENS = 8
_PROBE_SECONDS = 60.0  # a server that others use too may let it wait
_NEAR = 0.5  # in natural-log probability: another GPU may choose the other token
_GRACE_SECONDS = 10.0  # for servers that answer later than the first
_LOOK_SECONDS = 1.0  # between two looks at a file of servers


@contextmanager
def opened(prepared: "Prepared") -> Iterator[Fleet]:
    """Have the servers that were named as one engine inside, those that answer later too.

    Raise UsageError if one runs another model than the first one that answered.
    """
    options = prepared.options
    places = places_of(options.settings)
    roster = _Roster(prepared)
    roster.ask_first()
    patience = Patience(none_left=options.server_wait)
    urls = urls_in(places)
    fleet = Fleet(map(roster.member, urls), say=prepared.say, patience=patience)
    over = threading.Event()
    try:
        fleet.open(_GRACE_SECONDS)
        files = [place for place in places if place.startswith("@")]
        if files:
            watch = partial(_watch, places, urls, partial(_adjust, fleet, roster), over)
            threading.Thread(target=watch, daemon=True).start()
        yield fleet
    finally:
        over.set()
        fleet.close()


def _watch(
    places: Sequence[str],
    known: tuple[str, ...],
    adjust: Callable[[tuple[str, ...]], None],
    over: threading.Event,
) -> None:
    """Give `adjust` the URLs whenever they are not the `known` ones any more, and stay so.

    A file that is being written, or cannot be read, changes nothing.
    """
    seen = known
    while not over.wait(_LOOK_SECONDS):
        try:
            now = urls_in(places)
        except TuluError:
            continue
        if now and now == seen != known:
            known = now
            adjust(now)
        seen = now


def _adjust(fleet: Fleet, roster: "_Roster", urls: tuple[str, ...]) -> None:
    for report in fleet.reports():
        if report.name not in urls:
            fleet.remove(report.name)
    for url in urls:
        fleet.add(roster.member(url))


@dataclass
class _Roster:
    """What makes a member of a URL: it must run the model, and answer as the first one does."""

    prepared: "Prepared"
    first: tuple[str, Completion] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask_first(self) -> None:
        """Have the first server answer the probe, as long as it still answers."""
        model = self.prepared.model
        loadable = model.served if isinstance(model, ChatModel) else model.spec
        with suppress(EngineError), closing(load(self.prepared.choice, loadable)) as engine:
            self.first = _url_of(model), self._answer(engine)

    def member(self, url: str) -> Member:
        """Return a server as a member of a fleet."""
        return Member(url, partial(self._open, url), partial(self._lives, url))

    def _open(self, url: str) -> Engine:
        settings, model = self.prepared.options.settings, self.prepared.model
        server = servers.at_url(
            url,
            settings.get("api_key_env"),
            _name_there(model),
            in_flight=settings.get("in_flight"),
        )
        loadable = (
            self._on_chat(server) if isinstance(model, ChatModel) else self._on_tokens(server)
        )
        kind = loadable.server if isinstance(loadable, ServedModel) else server
        engine = load(servers.choice_for(kind, "one of several"), loadable)
        try:
            self._check_answer(url, self._answer(engine))
        except BaseException:
            engine.close()
            raise
        return engine

    def _answer(self, engine: Engine) -> Completion:
        """Return a server's answer to the probe. Raise EngineDied if it hangs."""
        hung = threading.Timer(_PROBE_SECONDS, engine.close)
        hung.start()
        try:
            return collect(engine.stream(self._probe()))[0]
        finally:
            hung.cancel()

    def _lives(self, url: str) -> bool:
        try:
            servers.at_url(url, self.prepared.options.settings.get("api_key_env"))
        except EngineDied:
            return False
        except TuluError:
            return True  # it has said something
        return True

    def _on_tokens(self, server: Endpoint | ChatServer) -> EngineSpec:
        """Return what loads a server that takes token ids. Raise UsageError for another model."""
        model = self.prepared.token_model()
        first = model.spec.server
        assert first is not None, "the first server that answered is known"
        if isinstance(server, ChatServer):
            raise UsageError(
                f"{server.url} makes the prompt itself, of messages, and {first.url} takes token "
                "ids: all servers must be of one kind."
            )
        if not self.prepared.options.mixed:
            if not {server.info.model, server.root} & {first.info.model, first.root}:
                raise self._another(server.url, server.info.model, first.url, first.info.model)
            lengths = [f"a context of {one.info.max_model_len:,}" for one in (server, first)]
            if lengths[0] != lengths[1]:
                raise self._another(server.url, lengths[0], first.url, lengths[1])
        if model.adapter is not None and model.adapter not in server.adapters:
            raise UsageError(f"{server.url} has no adapter {model.adapter!r}, which is to answer.")
        length = server.info.max_model_len or model.spec.max_model_len
        there = replace(server, is_one_of_several=True)
        return replace(model.spec, server=there, max_model_len=length)

    def _on_chat(self, server: Endpoint | ChatServer) -> ServedModel:
        """Return what loads a server that takes messages. Raise UsageError for another model."""
        model = self.prepared.model
        assert isinstance(model, ChatModel), "a server that takes messages"
        names = (server.info.model,) if isinstance(server, Endpoint) else server.models
        name = model.served.name
        if names and name not in names:
            if not self.prepared.options.mixed:
                raise self._another(server.url, listed(names), model.place, name)
            if len(names) > 1:
                raise UsageError(f"{server.url} has several models, none of which is {name}.")
            name = names[0]
        return ServedModel(
            name,
            ChatServer(
                url=server.url,
                api_key=server.api_key,
                models=names,
                is_one_of_several=True,
                in_flight=server.in_flight,
            ),
        )

    def _another(self, url: str | None, has: str, first: str | None, other: str) -> UsageError:
        return UsageError(
            f"{url} runs {has}, and {first} {other}: all servers must run the same model; --mixed "
            "allows others."
        )

    def _probe(self) -> Request:
        """Return a request whose greedy answer tells one model from another."""
        model = self.prepared.model
        sampling = Sampling(max_tokens=_PROBE_TOKENS, temperature=0.0)
        if isinstance(model, ChatModel):
            return Request((Message("user", _PROBE),), sampling)
        if not self.prepared.options.mixed:
            sampling = replace(sampling, logprobs=2)
        ids = model.spec.tokenizer.encode_raw(_PROBE)
        return Request(ids, sampling, model.end_token_ids, adapter=model.adapter)

    def _check_answer(self, url: str, answer: Completion) -> None:
        """Raise UsageError if a server answers the probe otherwise than the first one did.

        The first one itself may, where its answers are compared exactly: it need not always answer
        alike.
        """
        with self.lock:
            if self.first is None:
                self.first = url, answer
        first, other = self.first
        is_itself = url == first and not answer.token_ids
        if self.prepared.options.mixed or is_itself or are_alike(answer, other):
            return
        texts = (f"{(one.reasoning or '') + one.text!r}" for one in (answer, other))
        raise UsageError(
            f"{url} answers otherwise than {first} does, greedily {' and not '.join(texts)}: all "
            "servers must run the same model; --mixed allows others."
        )


def are_alike(one: Completion, other: Completion) -> bool:
    """Return True if two greedy answers may come from one model.

    Another GPU may round otherwise: where the answers part, each server must have found the two
    tokens about as likely.
    """
    if not one.token_ids and not other.token_ids:
        return (one.reasoning, one.text) == (other.reasoning, other.text)
    for place, tokens in enumerate(zip(one.token_ids, other.token_ids, strict=False)):
        if tokens[0] != tokens[1]:
            return all(_is_near(answer, place, tokens) for answer in (one, other))
    return len(one.token_ids) == len(other.token_ids)


def _is_near(answer: Completion, place: int, tokens: tuple[int, int]) -> bool:
    if place >= len(answer.logprobs):
        return False
    found = [value for token, value in answer.logprobs[place].top if token in tokens]
    return len(found) == len(tokens) and max(found) - min(found) <= _NEAR


def _url_of(model: TokenModel | ChatModel) -> str:
    """Return the URL of the first server that answered."""
    server = model.served.server if isinstance(model, ChatModel) else model.spec.server
    return str(server and server.url)


def _name_there(model: TokenModel | ChatModel) -> str:
    """Return the name by which the first server knows the model."""
    if isinstance(model, ChatModel):
        return model.served.name
    assert model.spec.server is not None, "the first server that answered is known"
    return model.spec.server.info.model
