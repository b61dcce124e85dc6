"""The one model that a long-running command has loaded, and how another takes its place."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tulu_cli.core import Done, EngineInfo, Request, Text
from tulu_cli.errors import EngineDied
from tulu_cli.loading.prepare import Prepared, fetch, load, prepare, say_choices, system_prompt
from tulu_cli.machine import Machine
from tulu_cli.prompt import Tokenizer
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams

if TYPE_CHECKING:
    from tulu_cli.engines.base import Engine


class Resident:
    """A model that is loaded when it is first asked, and anew after its engine has died.

    All of it happens in the thread that calls: an engine belongs to the one that loaded it.
    """

    def __init__(
        self,
        settings: Settings,
        machine: Machine,
        streams: Streams,
        *,
        offline: bool = False,
        trust_remote_code: bool = False,
        engine_args: Mapping[str, Any] | None = None,
        no_server: bool = False,
        force: bool = False,
    ) -> None:
        self._settings = settings
        self._machine = machine
        self._streams = streams
        self._offline = offline
        self._trust_remote_code = trust_remote_code
        self._engine_args = engine_args
        self._no_server = no_server
        self._force = force
        self._engine: Engine | None = None
        self.prepared = self._prepare(settings)

    @property
    def name(self) -> str:
        """What the user calls the model; of a path only the end."""
        ref = self.prepared.files.ref
        return ref.name if ref.path is None else ref.path.name

    @property
    def engine_name(self) -> str:
        """Which engine runs it, or will; of a server, where that is."""
        server = self.prepared.spec.server
        if server is None:
            return self.prepared.choice.engine
        return f"warm {server.info.engine}" if server.url is None else urlsplit(server.url).netloc

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.prepared.tokenizer

    @property
    def takes_messages(self) -> bool:
        """Whether a server makes the prompt, of messages."""
        return self.prepared.takes_messages

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return self.prepared.end_token_ids

    @property
    def generation_config(self) -> Mapping[str, Any]:
        """What the model's authors advise for sampling."""
        return self.prepared.files.generation_config

    @property
    def max_model_len(self) -> int:
        """The context length, in tokens; 0 where a server does not tell it."""
        return self.prepared.spec.max_model_len

    @property
    def info(self) -> EngineInfo:
        """What runs the model; loads it if need be."""
        return self.engine().info

    def system_prompt(self, asked: str | None = None) -> str | None:
        """The system prompt of a name or a text; of the settings, or the model, for None."""
        settings = self._settings
        if asked is not None:
            values = {**settings.values, "system": Setting(asked, "/system")}
            settings = replace(settings, values=values)
        return system_prompt(settings, self.prepared.files)

    def engine(self) -> "Engine":
        """The loaded engine. Raises what fetching and loading raise."""
        from tulu_cli.render.talk import progress_on, status

        if self._engine is None:
            prepared = self._fetched(self.prepared)
            with progress_on(self._streams) as progress, status(self._streams, prepared.loading):
                self._engine = load(prepared, progress=progress)
            self.prepared = prepared
        return self._engine

    def stream(self, request: Request) -> Generator[Text | Done, None, None]:
        """The events of the answer; an engine that dies of it is loaded anew for the next."""
        events = self.engine().stream(request)
        try:
            with closing(events):  # type: ignore[type-var]
                yield from events
        except EngineDied:
            self.unload()
            raise

    def switch(self, name: str) -> None:
        """Load another model. One that cannot be loaded leaves the old one the chosen one."""
        before, settings = (self._settings, self.prepared), self._settings
        settings = replace(settings, values={**settings.values, "model": Setting(name, "/model")})
        prepared = self._fetched(self._prepare(settings))
        self.unload()  # two models at a time would need the memory of two
        self._settings, self.prepared = settings, prepared
        try:
            self.engine()
        except BaseException:
            self._settings, self.prepared = before
            raise

    def say_choices(self) -> None:
        """Which engine and which model, and why."""
        say_choices(self.prepared, self._streams.say)

    def close(self) -> None:
        """The same as `unload`, at the end."""
        self.unload()

    def unload(self) -> None:
        """Give the memory back; the next question loads the model again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _prepare(self, settings: Settings) -> Prepared:
        from tulu_cli.render.talk import progress_on

        with progress_on(self._streams) as progress:
            return prepare(
                settings,
                self._machine,
                say=self._streams.say,
                progress=progress,
                offline=self._offline,
                trust_remote_code=self._trust_remote_code,
                engine_args=self._engine_args,
                no_server=self._no_server,
            )

    def _fetched(self, prepared: Prepared) -> Prepared:
        from tulu_cli.render.talk import progress_on

        with progress_on(self._streams) as progress:
            return fetch(prepared, progress=progress, offline=self._offline, force=self._force)
