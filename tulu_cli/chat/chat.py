"""A running chat: the conversation as it stands, the model that answers it, and who reads along."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tulu_cli.chat.line.terminal import Interrupts, TypeAhead
from tulu_cli.chat.model import LoadedModel
from tulu_cli.chat.session import Node, Session, new_stamp
from tulu_cli.chat.store.base import Store
from tulu_cli.chat.window import Overflow
from tulu_cli.core import Done, Request, Sampling
from tulu_cli.render import Renderer
from tulu_cli.request.request import RequestMaker
from tulu_cli.request.sampling import decide
from tulu_cli.settings import Settings
from tulu_cli.streams import Streams
from tulu_cli.text import plural, wrap


class Reader(Protocol):
    """Where the turns come from.

    `read` gives one line or block, beginning with `default` where it can be edited, and raises
    EOFError at the end. `confirm` is False where nobody can be asked.
    """

    interactive: bool

    def read(self, default: str = "") -> str: ...

    def confirm(self, question: str) -> bool: ...


NOWHERE = Session("", 0.0)


@dataclass
class Chat:
    """What the slash commands and the answers work on.

    `attached` are named texts that go with the next message, `editing` the turn that it is said
    instead of, and `draft` what stands on the next prompt line. `left_out` is how many turns the
    last prompt had to leave out. The `variables` are for the chat template. `failure` is the exit
    code of the first thing that went wrong, and `debug` asks for the traceback of each.
    """

    model: LoadedModel
    store: Store
    streams: Streams
    reader: Reader
    renderer: Callable[[Request], Renderer]
    settings: Settings
    interrupts: Interrupts
    type_ahead: TypeAhead
    session: Session = NOWHERE
    overflow: Overflow = "error"
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    allow_special: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    model_names: tuple[tuple[str, str], ...] = ()
    attached: list[tuple[str, str]] = field(default_factory=list)
    editing: str | None = None
    draft: str = ""
    left_out: int = 0
    last: Done | None = None
    leaving: bool = False
    failure: int = 0
    debug: bool = False

    @property
    def is_watched(self) -> bool:
        """Whether a person reads along, who can be told what is waited for, and asked."""
        return self.reader.interactive

    def say(self, line: str) -> None:
        """Write a line to stderr, which a terminal gets broken between words."""
        width = self.streams.talk_width - 1
        self.streams.say(wrap(line, width) if self.streams.stderr_tty else line)

    @property
    def title(self) -> str:
        """What the session is called."""
        return self.session.name or self.session.id

    @property
    def ways_on(self) -> str:
        """What can follow an answer that was cut."""
        anew = "/retry answers anew"
        return anew if self.model.tokens is None else f"/continue goes on, {anew}"

    def keep(self, session: Session, *changed: Node) -> None:
        """Make this the session, in the store too. Raise UsageError as the store does."""
        if session.nodes:  # a session begins with its first turn
            self.store.write(session, *changed)
        self.session, self.editing = session, None

    def begin(self, system: str | None, name: str | None = None) -> None:
        """Begin a new session; it is stored with its first turn."""
        stamp = new_stamp()
        self.session = Session(stamp.id, stamp.at, name, system)
        self.editing, self.left_out = None, 0

    def resume(self, session: Session) -> None:
        """Continue an old session, and say where it stands."""
        self.session, self.editing, self.left_out = session, None, 0
        path = session.path()
        self.say(f"Session {self.title}, {plural(len(path), 'turn')}.")
        if path and path[-1].is_partial:
            self.say(f"Its last answer was cut: {self.ways_on}.")

    def sampling(self) -> Sampling:
        """Return how to answer now. Raise BadInput if the advice of the model makes no sense."""
        return decide(
            self.settings, self.model.generation_config, stop=self.stop, ignore_eos=self.ignore_eos
        )

    @property
    def requests(self) -> RequestMaker:
        """Return the maker of the model's requests."""
        return self.model.requests(self.variables, allow_special=self.allow_special)
