"""Slash commands about whole sessions: new ones, old ones, and files of them."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.export import format_of
from tulu_cli.chat.session import Session, new_stamp
from tulu_cli.chat.slash.arguments import path_words, paths_in
from tulu_cli.chat.slash.row import slash, write_line
from tulu_cli.chat.store.base import find_session
from tulu_cli.disk import reading
from tulu_cli.errors import TuluError, UsageError
from tulu_cli.text import clip, one_line, plural, to_the_minute

_LISTED = 20


@slash("new", "Begin a new session; this one stays in the history.")
def new(chat: Chat, _argument: str) -> None:
    """Begin a session with the same system prompt."""
    chat.begin(chat.session.system)
    chat.say("A new session.")


def _sessions(chat: Chat, begun: str) -> Iterable[tuple[str, str]]:
    names = [(one.name or one.id, one.title) for one in chat.store.summaries()]
    found = [pair for pair in names if pair[0].startswith(begun)]
    return [*found, *path_words(begun)]


@slash(
    "load",
    "Go on with another session, or one from a file.",
    arguments="SESSION|FILE",
    words=_sessions,
    takes_bytes=True,
)
def load(chat: Chat, argument: str) -> None:
    """Go on with the session of this name or id, or with the conversation in a file."""
    if not argument:
        raise UsageError("/load takes a session or a file: /history lists the sessions.")
    try:
        session = chat.store.load(find_session(chat.store.summaries(), argument))
    except UsageError:
        path = one_path(argument, "/load")
        if not path.is_file():
            raise
        session = from_file(path)
        chat.store.write(session)
    chat.resume(session)


@slash(
    "save",
    "Write the conversation to a file: .md, .html, .jsonl or .json.",
    arguments="FILE",
    words=lambda _chat, begun: path_words(begun),
    takes_bytes=True,
)
def save(chat: Chat, argument: str) -> None:
    """Write the current branch to a new file; an existing one is not overwritten."""
    if not argument:
        raise UsageError("/save takes the name of a file.")
    if not chat.session.nodes:
        raise UsageError("There is nothing to save yet.")
    path = one_path(argument, "/save")
    text = format_of(path.name, "markdown").write([chat.session])
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{str(path)!r} is there already: choose another name.") from error
    except OSError as error:
        raise TuluError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    chat.say(f"Saved as {path}.")


def one_path(argument: str, command: str) -> Path:
    """Return the one path in an argument, as a shell reads it. Raise UsageError."""
    words = paths_in(argument)
    if len(words) != 1:
        raise UsageError(f"{command} takes one file.")
    return Path(os.path.expanduser(words[0]))


def from_file(path: Path) -> Session:
    """Return the conversation in a file, as a new session. Raise BadInput or TuluError."""
    with reading(path, TuluError):
        data = path.read_bytes()
    found = format_of(path.name, "jsonl").read(data, repr(str(path)))
    if len(found) != 1:
        raise UsageError(f"{str(path)!r} holds {len(found)} conversations: tulu history import.")
    return replace(found[0], id=new_stamp().id, name=None)


@slash("history", "List the newest sessions.")
def history(chat: Chat, _argument: str) -> None:
    """List the newest sessions, those of other terminals too."""
    summaries = chat.store.summaries()[:_LISTED]
    for one in summaries:
        when = to_the_minute(one.updated)
        here = "*" if one.id == chat.session.id else " "
        line = f"{here}{one.name or one.id}  {when}  {plural(one.turns, 'turn')}  {one.title}"
        chat.streams.write(f"{clip(one_line(line), chat.streams.size().columns - 1)}\n")
    if not summaries:
        chat.say("There are no sessions yet.")


@slash("search", "Find what was said in any session.", arguments="TEXT")
def search(chat: Chat, argument: str) -> None:
    """Write the turns that hold every word."""
    if not argument:
        raise UsageError("/search takes the words to look for.")
    hits = chat.store.search(argument, limit=_LISTED)
    for hit in hits:
        where = hit.session_name or hit.session_id
        write_line(chat, f"{where}  {hit.role}: {hit.before}{hit.match}{hit.after}", "  ")
    if not hits:
        chat.say("Nothing was found.")
