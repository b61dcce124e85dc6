"""The input history as prompt_toolkit wants it: read anew for each prompt."""

from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit.history import History

from tulu_cli.chat.input_history import InputHistory


class Recall(History):
    """What this and every other terminal has typed, for the arrow keys, Ctrl-R and suggestions."""

    def __init__(self, entries: InputHistory) -> None:
        super().__init__()
        self._entries = entries

    async def load(self) -> AsyncGenerator[str, None]:
        """Newest first, with what other terminals have added since the last prompt."""
        self._loaded_strings = self._entries.newest_first()
        for entry in self._loaded_strings:
            yield entry

    def load_history_strings(self) -> Iterable[str]:
        """Newest first."""
        return self._entries.newest_first()

    def store_string(self, string: str) -> None:
        """Nothing: an entry is stored by the prompt line, which knows what its chips stand for."""
