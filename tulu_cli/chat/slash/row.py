"""The table of the slash commands, which dispatch, completion and help read."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.slash.arguments import Candidate, last_word
from tulu_cli.errors import UsageError
from tulu_cli.text import terminal_safe, wrap

Handler = Callable[[Chat, str], None]
# What an argument can be: (word, what it is) for the words of a chat that begin so.
Words = Callable[[Chat, str], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """Describe a slash command; the help shows `arguments`, and `words` completes them.

    With `takes_lines` its argument may go over several lines. With `takes_bytes` it may have bytes
    that are not UTF-8, as the names of files may.
    """

    name: str
    about: str
    handler: Handler
    aliases: tuple[str, ...] = ()
    arguments: str = ""
    words: Words | None = None
    takes_lines: bool = False
    takes_bytes: bool = False

    @property
    def usage(self) -> str:
        """Return the command as it is typed."""
        return f"/{self.name} {self.arguments}".rstrip()


ROWS: dict[str, SlashCommand] = {}


def slash(
    name: str,
    about: str,
    *,
    aliases: tuple[str, ...] = (),
    arguments: str = "",
    words: Words | None = None,
    takes_lines: bool = False,
    takes_bytes: bool = False,
) -> Callable[[Handler], Handler]:
    """Make the function that it decorates a slash command."""

    def add(handler: Handler) -> Handler:
        ROWS[name] = SlashCommand(
            name, about, handler, aliases, arguments, words, takes_lines, takes_bytes
        )
        return handler

    return add


def write_line(chat: Chat, line: str, indent: str = "") -> None:
    """Write a line to stdout, which a terminal gets broken between words."""
    if chat.streams.stdout_tty:
        line = wrap(line, chat.streams.size().columns - 1, indent)
    chat.streams.write(f"{line}\n")


def rows() -> Iterator[SlashCommand]:
    """Yield all commands, by name."""
    return iter(sorted(ROWS.values(), key=lambda row: row.name))


def _names() -> dict[str, SlashCommand]:
    return {word: row for row in ROWS.values() for word in (row.name, *row.aliases)}


def is_meant(name: str, argument: str, *, several_lines: bool, watched: bool) -> bool:
    """Return True if what was typed is a command, and not a text that only begins like one.

    A paste is a text, unless the command takes several lines. A person is told of a wrong name;
    where nobody reads along (`watched` is False), nobody could then write // before it.
    """
    row = _names().get(name)
    if several_lines:
        return row is not None and row.takes_lines
    if watched:
        return True
    return row is not None and bool(not argument or row.arguments)


def takes_bytes(name: str) -> bool:
    """Return True for a command whose argument may have bytes that are not UTF-8."""
    row = _names().get(name)
    return row is not None and row.takes_bytes


def find(name: str) -> SlashCommand:
    """Return the command of a name or an alias. Raise UsageError, which names the nearest one."""
    names = _names()
    if name in names:
        return names[name]
    near = get_close_matches(name, names, 1)
    hint = f"Did you mean /{near[0]}?" if near else "/help lists the commands."
    raise UsageError(f"/{name} is not a command. {hint} //{name} sends it as text.")


def run(chat: Chat, name: str, argument: str) -> None:
    """Run a command. Raise UsageError if it takes no argument and has one."""
    row = find(name)
    if argument and not row.arguments:
        raise UsageError(f"/{row.name} takes no argument.")
    row.handler(chat, argument)


def candidates(chat: Chat, line: str) -> Iterator[Candidate]:
    """Yield the completions of a line up to its cursor: commands, or arguments of one."""
    if not line.startswith("/") or "\n" in line:
        return
    name, space, rest = line[1:].partition(" ")
    if not space:
        named = (row for row in rows() if row.name.startswith(name))
        yield from (Candidate(f"/{row.name}", len(line), row.about) for row in named)
        return
    row = next((row for row in ROWS.values() if name in (row.name, *row.aliases)), None)
    if row is None or row.words is None:
        return
    begun = last_word(rest)
    for word, about in row.words(chat, begun):
        yield Candidate(word, len(begun), terminal_safe(about))
