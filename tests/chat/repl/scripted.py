"""A chat without a process: the fake engine, buffers for streams, and a script for the user."""

import io
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.line.terminal import Interrupts, TypeAhead
from tulu_cli.chat.loop import converse
from tulu_cli.chat.model import LoadedModel
from tulu_cli.chat.store.base import MemoryStore, Store
from tulu_cli.core import Request
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import Machine
from tulu_cli.render import Renderer, choose
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams


@dataclass
class Script:
    """A user who says this, line after line, and then leaves; `drafts` is what stood there.

    `hasty` presses Ctrl-C just before each prompt takes it over.
    """

    lines: list[str]
    yes: bool = True
    interactive: bool = True
    hasty: bool = False
    drafts: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    def read(self, default: str = "") -> str:
        self.drafts.append(default)
        if self.hasty:
            signal.raise_signal(signal.SIGINT)
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.yes


@dataclass
class Said:
    """What a chat has left behind."""

    chat: Chat
    script: Script
    code: int

    @property
    def out(self) -> str:
        assert isinstance(self.chat.streams.stdout, io.BytesIO)
        return self.chat.streams.stdout.getvalue().decode()

    @property
    def err(self) -> str:
        assert isinstance(self.chat.streams.stderr, io.BytesIO)
        return self.chat.streams.stderr.getvalue().decode()


class Stage:
    """Where scripted chats are held; `requests` is what the engine was given."""

    def __init__(self, directory: Path, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.requests: list[Request] = []
        self._directory = directory

    def play(
        self,
        *lines: str,
        yes: bool = True,
        tty: bool = False,
        hasty: bool = False,
        debug: bool = False,
        **settings: Any,
    ) -> Said:
        """A whole chat of these lines."""
        streams = Streams.test()
        streams.stdout_tty = tty
        script = Script([*lines], yes, hasty=hasty)
        with self._model(streams, settings) as model:
            chat = Chat(
                model=model,
                store=self.store,
                streams=streams,
                reader=script,
                renderer=self._renderer(streams),
                settings=Settings(_flags(settings)),
                interrupts=Interrupts(),
                type_ahead=TypeAhead(streams),
                debug=debug,
                model_names=(("8b", "Tülu 3 8B"), ("demo", "SmolLM2")),
            )
            chat.begin(model.system_prompt())
            return Said(chat, script, converse(chat))

    @contextmanager
    def _model(self, streams: Streams, settings: dict[str, Any]) -> Iterator[LoadedModel]:
        here = {"model": str(self._directory), "engine": "fake"}
        given = settings if "server" in settings else here | settings
        model = LoadedModel(LoadOptions(Settings(_flags(given)), offline=True), Machine(), streams)
        try:
            yield model
        finally:
            model.unload()

    def _renderer(self, streams: Streams) -> Any:
        def make(request: Request) -> Renderer:
            self.requests.append(request)
            return choose.chat(streams, request, plain=True)

        return make


def _flags(values: dict[str, Any]) -> dict[str, Setting]:
    return {name: Setting(value, "flag") for name, value in values.items()}


def contents(said: Said) -> Sequence[str]:
    """What stands on the path to the head."""
    return [node.content for node in said.chat.session.path()]
