"""`tulu history show`: show a session as text, as a tree or as JSON."""

from typing import TYPE_CHECKING, Annotated

import typer

from tulu_cli.commands import _options
from tulu_cli.commands.history._shared import Json, SessionName, history
from tulu_cli.errors import UsageError
from tulu_cli.text import plural, terminal_safe, to_the_minute

if TYPE_CHECKING:
    from tulu_cli.chat.session import Node, Session
    from tulu_cli.render.thoughts import Reasoning
    from tulu_cli.streams import Streams


def show(
    session: SessionName,
    tree: Annotated[
        bool, typer.Option("--tree", help="Draw all branches, a line for each turn.")
    ] = False,
    reasoning: Annotated[
        _options.Reasoning | None,
        typer.Option(
            "--reasoning",
            help="Show the thoughts before the answers (on stderr, if stdout is not a terminal), "
            "hide them, or print only them.  [default: their length on a terminal, else hide]",
            metavar="show|hide|only",
        ),
    ] = None,
    json_output: Json = False,
    _debug: _options.Debug = False,
) -> None:
    """Show the turns of a session, or its tree of branches."""
    from tulu_cli.streams import Streams

    if tree and json_output:
        raise UsageError("--json has the whole tree already: leave --tree out.")
    if reasoning is not None and (tree or json_output):
        raise UsageError("--reasoning is for the turns as text: leave --tree and --json out.")
    form = "tree" if tree else "json" if json_output else "text"
    run(session, form, Streams.standard(), None if reasoning is None else reasoning.value)


def run(name: str, form: str, streams: "Streams", reasoning: "Reasoning | None" = None) -> None:
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
        show_text(session, streams, reasoning)


def show_text(session: "Session", streams: "Streams", reasoning: "Reasoning | None" = None) -> None:
    """Write the turns on the path, each under a line with its role; with their thoughts, if asked.

    On a terminal a thought is one row, as in a chat whose answer is there.
    """
    is_only = reasoning == "only"
    if session.system is not None and not is_only:
        show_turn("system", session.system, streams)
    for node in session.path():
        if is_only:
            if node.thought:
                show_turn(heading(node), node.thought, streams)
            continue
        show_title(heading(node), streams)
        if node.thought and (reasoning == "show" or (reasoning is None and streams.stdout_tty)):
            show_thought(node, streams, is_whole=reasoning == "show")
        show_content(node.content, streams)
    others = len(session.nodes) - len(session.path())
    if others:
        streams.say(f"tulu: {others} more turns are on other branches: --tree shows them.")


def heading(node: "Node") -> str:
    """Return a turn's role, and when and how it was made."""
    from tulu_cli.chat.tree import marks

    model = [] if node.record is None else [node.record.model]
    return "  ".join([node.role, to_the_minute(node.created), *model, *filter(None, [marks(node)])])


def show_thought(node: "Node", streams: "Streams", *, is_whole: bool) -> None:
    """Write the thought before an answer, or one dim row with its length."""
    from tulu_cli.render.thoughts import SpokenThought

    if is_whole:
        view = SpokenThought(streams)
        view.add(node.thought)
        view.close()
        return
    done = node.record.done if node.record else None
    tokens = done.usage.reasoning_tokens if done and done.usage else 0
    size = plural(tokens, "token") if tokens else plural(len(node.thought), "character")
    said = f"Thought: {size}."
    streams.write_styled(f"\x1b[2m{said}\x1b[0m\n\n" if streams.color else f"{said}\n\n")


def show_turn(title: str, content: str, streams: "Streams") -> None:
    """Write one turn, under its title."""
    show_title(title, streams)
    show_content(content, streams)


def show_title(title: str, streams: "Streams") -> None:
    """Write the title of a turn, in bold if there is colour."""
    if streams.color:
        streams.write_styled(f"\x1b[1m{terminal_safe(title)}\x1b[0m\n")
    else:
        streams.write(f"{title}\n")


def show_content(content: str, streams: "Streams") -> None:
    """Write what a turn says, and a blank line."""
    streams.write(content if content.endswith("\n") else f"{content}\n")
    streams.write("\n")
