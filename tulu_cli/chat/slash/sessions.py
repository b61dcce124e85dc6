"""Rows about whole sessions: new ones, old ones, and files of them."""

import time
from collections.abc import Iterable

from tulu_cli.chat.cells import clip, one_line
from tulu_cli.chat.chat import Chat
from tulu_cli.chat.completion import path_words
from tulu_cli.chat.slash.row import slash
from tulu_cli.chat.store import find_session
from tulu_cli.chat.words import plural
from tulu_cli.errors import UsageError

_LISTED = 20


@slash("new", "Begin a new session; this one stays in the history.")
def new(chat: Chat, _argument: str) -> None:
    """With the same system prompt."""
    chat.begin(chat.session.system)
    chat.say("A new session.")


def _sessions(chat: Chat, begun: str) -> Iterable[tuple[str, str]]:
    names = [(one.name or one.id, one.title) for one in chat.store.summaries()]
    found = [pair for pair in names if pair[0].startswith(begun)]
    return [*found, *path_words(begun)]


@slash("load", "Go on with another session.", arguments="SESSION", words=_sessions)
def load(chat: Chat, argument: str) -> None:
    """By name, or by the beginning of its id."""
    if not argument:
        raise UsageError("/load takes a session: /history lists them.")
    chat.resume(chat.store.load(find_session(chat.store.summaries(), argument)))


@slash("history", "List the newest sessions.")
def history(chat: Chat, _argument: str) -> None:
    """Those of other terminals too."""
    summaries = chat.store.summaries()[:_LISTED]
    for one in summaries:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.updated))
        here = "*" if one.id == chat.session.id else " "
        line = f"{here}{one.name or one.id}  {when}  {plural(one.turns, 'turn')}  {one.title}"
        chat.streams.write(f"{clip(one_line(line), chat.streams.width - 1)}\n")
    if not summaries:
        chat.say("There are no sessions yet.")


@slash("search", "Find what was said in any session.", arguments="TEXT")
def search(chat: Chat, argument: str) -> None:
    """Every word has to be there."""
    if not argument:
        raise UsageError("/search takes the words to look for.")
    hits = chat.store.search(argument, limit=_LISTED)
    for hit in hits:
        where = hit.session_name or hit.session_id
        chat.streams.write(f"{where}  {hit.role}: {hit.before}{hit.match}{hit.after}\n")
    if not hits:
        chat.say("Nothing was found.")
