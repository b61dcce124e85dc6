"""`tulu history show`: show a session as text, as a tree or as JSON."""

from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import Json, SessionName, history
from tulu_cli.errors import UsageError
from tulu_cli.text import terminal_safe, to_the_minute

if TYPE_CHECKING:
    from tulu_cli.chat.session import Node, Session
    from tulu_cli.streams import Streams


def show(
    session: SessionName,
    tree: Annotated[
        bool, typer.Option("--tree", help="Draw all branches, a line for each turn.")
    ] = False,
    json_output: Json = False,
    _debug: _options.Debug = False,
) -> None:
    """Show the turns of a session, or its tree of branches."""
    from tulu_cli.streams import Streams

    if tree and json_output:
        raise UsageError("--json has the whole tree already: leave --tree out.")
    run(session, "tree" if tree else "json" if json_output else "text", Streams.standard())


def run(name: str, form: str, streams: "Streams") -> None:
    """Print the session of this name; `form` is text, tree or json."""
    from tulu_cli.chat.export.json import write_tulu
    from tulu_cli.chat.store.base import find_session
    from tulu_cli.chat.tree import draw

    with history(streams) as store:
        session = store.load(find_session(store.summaries(), name))
    if form == "json":
        streams.write(write_tulu([session]))
    elif form == "tree":
        width = streams.width if streams.stdout_tty else 200
        streams.write("".join(f"{line}\n" for line in draw(session, width)))
    else:
        show_text(session, streams)


def show_text(session: "Session", streams: "Streams") -> None:
    """Write the turns on the path, each under a line with its role."""
    if session.system is not None:
        show_turn("system", session.system, streams)
    for node in session.path():
        show_turn(heading(node), node.content, streams)
    others = len(session.nodes) - len(session.path())
    if others:
        streams.say(f"tulu: {others} more turns are on other branches: --tree shows them.")


def heading(node: "Node") -> str:
    """Return a turn's role, and when and how it was made."""
    from tulu_cli.chat.tree import marks

    model = [] if node.record is None else [node.record.engine.model]
    return "  ".join([node.role, to_the_minute(node.created), *model, *filter(None, [marks(node)])])


def show_turn(title: str, content: str, streams: "Streams") -> None:
    """Write one turn, under its title in bold if there is colour."""
    if streams.color:
        streams.write_styled(f"\x1b[1m{terminal_safe(title)}\x1b[0m\n")
    else:
        streams.write(f"{title}\n")
    streams.write(content if content.endswith("\n") else f"{content}\n")
    streams.write("\n")
