"""List, show, search, export, import and delete the conversations of `tulu chat`."""

EXAMPLES = (
    ("Find the turns with a word", "tulu history search photosynthesis"),
    ("Read the last session as Markdown", "tulu history export"),
    ("Delete sessions that are older than 30 days", "tulu history prune --older-than 30d"),
)
FILES = (("~/.local/share/tulu/chats/history.db", "The sessions, on Linux."),)
ENVIRONMENT = (("TULU_DATA_DIR", "The folder for the history."),)
