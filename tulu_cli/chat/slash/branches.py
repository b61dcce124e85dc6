"""Slash commands that move over the tree of the conversation; none removes a turn."""

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.line.plain import literal
from tulu_cli.chat.session import new_stamp
from tulu_cli.chat.slash.arguments import whole_number
from tulu_cli.chat.slash.row import slash
from tulu_cli.chat.store.base import checked_name
from tulu_cli.chat.tree import draw
from tulu_cli.errors import UsageError
from tulu_cli.text import clip, one_line, plural


@slash("edit", "Change your last turn, or turn N, on a branch beside it.", arguments="[N]")
def edit(chat: Chat, argument: str) -> None:
    """Put the turn's text on the prompt line; sending it begins a branch before the turn."""
    session = chat.session
    said = (node for node in reversed(session.path()) if node.role == "user")
    number = whole_number(argument, "/edit", least=1) if argument else None
    node = next(said, None) if number is None else session.numbered(number)
    if node is None or node.role != "user":
        raise UsageError("Only what you said can be edited: /tree shows the turns' numbers.")
    chat.editing = node.id
    chat.draft = literal(node.content)
    chat.say(f"Editing turn {session.number(node.id)}; Ctrl-C on an empty line gives it up.")


@slash("undo", "Go back to before your last turn.")
def undo(chat: Chat, _argument: str) -> None:
    """Go back; the turn and its answers stay in the tree."""
    chat.keep(chat.session.undo())
    say_where(chat)


@slash("redo", "Take the last undo back.")
def redo(chat: Chat, _argument: str) -> None:
    """Go forward to where the undo began."""
    chat.keep(chat.session.redo())
    say_where(chat)


@slash("fork", "Go on in a session of its own, which begins like this one.", arguments="[NAME]")
def fork(chat: Chat, argument: str) -> None:
    """Begin a session with this path; the old one stays as it is."""
    if not chat.session.nodes:
        raise UsageError("There is nothing to fork yet.")
    name = checked_name(argument) if argument else None
    chat.keep(chat.session.fork(name, new_stamp()))
    chat.say(f"This is now session {chat.title}.")


@slash("tree", "Draw the conversation with all its branches.")
def tree(chat: Chat, _argument: str) -> None:
    """Write each turn with its number, and a mark at the last one."""
    if not chat.session.nodes:
        raise UsageError("Nothing was said yet.")
    for line in draw(chat.session, chat.streams.size().columns - 1):
        chat.streams.write(f"{line}\n")


@slash("switch", "Go to the branch of turn N.", arguments="N")
def switch(chat: Chat, argument: str) -> None:
    """Make the newest end below the turn the end of the conversation."""
    node = chat.session.numbered(whole_number(argument, "/switch", least=1))
    chat.keep(chat.session.switch(node.id))
    say_where(chat)


def say_where(chat: Chat) -> None:
    """Say which turn the conversation ends with now."""
    path = chat.session.path()
    if not path:
        chat.say("At the beginning.")
        return
    last = path[-1]
    line = f"{plural(len(path), 'turn')}, the last is {chat.session.number(last.id)}: "
    chat.say(clip(one_line(line + last.content), chat.streams.talk_width - 1))
