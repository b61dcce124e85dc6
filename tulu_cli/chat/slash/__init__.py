"""The slash commands. Importing this fills the rows: a module here is found by being named here."""

from tulu_cli.chat.slash import about, answers, branches, files, sessions, sets
from tulu_cli.chat.slash.row import SlashCommand, candidates, find, is_meant, rows, run, takes_bytes

__all__ = [
    "SlashCommand",
    "about",
    "answers",
    "branches",
    "candidates",
    "files",
    "find",
    "is_meant",
    "rows",
    "run",
    "sessions",
    "sets",
    "takes_bytes",
]
