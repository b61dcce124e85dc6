"""The one model of a chat: loaded when it is first asked, and replaced by another one."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Done, EngineInfo, Request, Text
from tulu_cli.errors import EngineDied, UsageError
from tulu_cli.loading import (
    LoadOptions,
    TokenModel,
    load_engine,
    prepare,
    with_weights,
)
from tulu_cli.machine import Machine
from tulu_cli.models.draft import NGRAM, NONE
from tulu_cli.prompt import ChatEncoder
from tulu_cli.prompt.thinking import writes_thoughts
from tulu_cli.request.request import RequestMaker
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams
from tulu_cli.text import listed

if TYPE_CHECKING:
    from tulu_cli.engines.base import Engine


class LoadedModel:
    """A model that is loaded when it is first asked, and anew after its engine has died.

    All of it happens in the thread that calls: an engine belongs to the one that loaded it.
    """

    def __init__(self, options: LoadOptions, machine: Machine, streams: Streams) -> None:
        self._options = options
        self._machine = machine
        self._streams = streams
        self._engine: Engine | None = None
        self._encoder: ChatEncoder | None = None
        self.prepared = prepare(options, machine, streams)

    @property
    def name(self) -> str:
        """Return what the user calls the model; of a path only the end."""
        return self.prepared.model.title

    @property
    def adapter(self) -> str | None:
        """Return the adapter that answers, None for the model alone."""
        return self.prepared.model.adapter

    @property
    def engine_name(self) -> str:
        """Return which engine runs it, or will; for a server, where that is."""
        return self.prepared.engine_name

    @property
    def tokens(self) -> TokenModel | None:
        """Return what knows the model's tokens, or None where a server makes the prompt."""
        model = self.prepared.model
        return model if isinstance(model, TokenModel) else None

    @property
    def thinks(self) -> bool:
        """Return False for a model that writes no thoughts; of a server that is not known."""
        return self.tokens is None or writes_thoughts(self.tokens.tokenizer)

    @property
    def generation_config(self) -> Mapping[str, Any]:
        """Return what the model's authors advise for sampling."""
        return self.prepared.model.generation_config

    @property
    def max_model_len(self) -> int | None:
        """Return the context length in tokens, or None where a server does not tell it."""
        return self.prepared.model.max_model_len

    @property
    def info(self) -> EngineInfo:
        """Return what runs the model; load it if need be."""
        return self.engine().info

    def system_prompt(self, asked: str | None = None) -> str | None:
        """Return the system prompt of a name or a text; for None that of the settings."""
        settings = self._options.settings
        return self.prepared.model.system_prompt(
            settings if asked is None else _with(settings, "system", asked)
        )

    def requests(self, variables: Mapping[str, Any], *, allow_special: bool) -> RequestMaker:
        """Return the maker of this model's requests; the variables are for its chat template."""
        model = self.prepared.model
        if isinstance(model, TokenModel) and self._encoder is None:
            self._encoder = ChatEncoder(model.tokenizer)
        return RequestMaker(
            model, allow_special=allow_special, encoder=self._encoder, variables=variables
        )

    def engine(self) -> "Engine":
        """Return the loaded engine. Raise what fetching and loading raise."""
        if self._engine is None:
            prepared = with_weights(self.prepared, self._streams)
            self._engine = load_engine(prepared, self._streams)
            self.prepared = prepared
        return self._engine

    def stream(self, request: Request) -> Generator[Text | Done, None, None]:
        """Yield the events of the answer; an engine that dies of it is loaded anew for the next."""
        events = self.engine().stream(request)
        try:
            with closing(events):  # type: ignore[type-var]
                yield from events
        except EngineDied:
            self.unload()
            raise

    def switch(self, name: str) -> None:
        """Load another model. One that cannot be loaded leaves the old one the chosen one."""
        before = self._options, self.prepared
        settings = self._options.settings
        if "adapter" in settings.values and (left := self.prepared.model.adapters):
            are = "adapter {} is" if len(left) == 1 else "adapters {} are"
            said = are.format(listed(left))
            self._streams.say(f"tulu: the {said} of the model before, and left out.")
        settings = settings.without("adapter")
        draft = settings.get("draft", NONE)
        if draft not in (NGRAM, NONE):
            settings = settings.without("draft").without("draft_tokens")
            self._streams.say(f"tulu: the draft {draft} is of the model before, and left out.")
        options = replace(self._options, settings=_with(settings, "model", name))
        quiet = replace(options, verbose=False)
        prepared = with_weights(prepare(quiet, self._machine, self._streams), self._streams)
        self.unload()  # two models at a time would need the memory of two
        self._options, self.prepared, self._encoder = options, prepared, None
        try:
            self.engine()
        except BaseException:
            self._options, self.prepared = before
            self._encoder = None
            raise

    def adapt(self, name: str | None) -> None:
        """Let a loaded adapter answer from now on, or the model alone for None.

        Nothing is loaded. Raise UsageError for an adapter that is not there.
        """
        model = self.prepared.model
        if name is not None and name not in model.adapters:
            there = listed(model.adapters) if model.adapters else "none"
            raise UsageError(
                f"There is no adapter {name!r}: there is {there}, and --adapter loads others at "
                "the start."
            )
        if isinstance(model, TokenModel):
            self.prepared = replace(self.prepared, model=replace(model, adapter=name))

    def unload(self) -> None:
        """Give the memory back; the next question loads the model again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()


def _with(settings: Settings, name: str, value: str) -> Settings:
    """Return the settings with one that a slash command of that name has set."""
    return replace(settings, values={**settings.values, name: Setting(value, f"/{name}")})
