"""The program in a pseudo-terminal, with a history of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .scripted import Stage
from .terminal import ChatTerminal

SIZES = [(80, 24), (20, 10)]
OpenChat = Callable[..., ChatTerminal]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where the sessions and the input history are."""
    return tmp_path / "data"


@pytest.fixture
def open_chat(demo_directory: Path, data: Path) -> Iterator[OpenChat]:
    """Starts `tulu chat` on the fake engine; several may run at once."""
    opened: list[ChatTerminal] = []

    def open_one(
        *arguments: str, columns: int = 80, lines: int = 24, engine: str = "fake", **env: str
    ) -> ChatTerminal:
        given = ("-m", str(demo_directory), "--engine", engine, *arguments)
        place = {"TULU_DATA_DIR": str(data)} | env
        opened.append(ChatTerminal(*given, columns=columns, lines=lines, env=place))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


@pytest.fixture(params=SIZES, ids=["80x24", "20x10"])
def sized_chat(request: pytest.FixtureRequest, open_chat: OpenChat) -> OpenChat:
    """The same, in each size of terminal in turn."""
    columns, lines = request.param
    return lambda *arguments, **env: open_chat(*arguments, columns=columns, lines=lines, **env)


@pytest.fixture
def stage(demo_directory: Path) -> Stage:
    """Chats without a process."""
    return Stage(demo_directory)
