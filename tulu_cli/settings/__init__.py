"""Settings: flags, variables, profiles and files, merged by name, the nearest winning."""

from tulu_cli.settings.keys import DTYPES, FREE_TABLES, KEYS, Key, dotted, key_at, parsed
from tulu_cli.settings.merge import Setting, Settings
from tulu_cli.settings.read import read_settings

__all__ = [
    "DTYPES",
    "FREE_TABLES",
    "KEYS",
    "Key",
    "Setting",
    "Settings",
    "dotted",
    "key_at",
    "parsed",
    "read_settings",
]
