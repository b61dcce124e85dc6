"""Token ids to text, one at a time: whole characters, and nothing of a stop string."""

import re

from tulu_cli.prompt.tokenizer import Tokenizer

INCOMPLETE = "\ufffd"  # what a decoder makes of a character whose bytes have not all come
BYTE_TOKEN = re.compile("<0x[0-9A-Fa-f]{2}>")

# Decoding a few recent tokens gives the same new text as decoding all of them: decoders look at
# their neighbours for spaces, and at four bytes at most for a character.
WINDOW = 16
CONTEXT = 6


class TextStream:
    """The text of one answer, growing with its tokens.

    All that `push` and `finish` return adds up to `tokenizer.decode` of the tokens, cut where
    the first stop string to be completed begins. `stopped` is then that stop string. Each token
    costs the same, however long the answer is.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...] = ()) -> None:
        self.stopped: str | None = None
        self._tokenizer = tokenizer
        self._stop = StopStrings(stop)
        self._window: list[int] = []
        self._shown = 0  # characters of the window's text that went to the stop strings
        self._held = ""  # text that may be the beginning of a stop string

    def push(self, token_id: int) -> str:
        """Add a token; returns the text that may be shown now, often none."""
        token = self._tokenizer.token_text(token_id)
        if self.stopped is not None or token is None or token_id in self._tokenizer.special_ids:
            return ""
        self._window.append(token_id)
        if self._tokenizer.joins_bytes and BYTE_TOKEN.fullmatch(token):
            # Byte tokens in a row are characters or all of them are errors: only the next
            # token that is none of them tells.
            return ""
        return self._release(self._advance())

    def finish(self) -> str:
        """Return the rest of the text, once the model has ended."""
        if self.stopped is not None:
            return ""
        text = self._tokenizer.decode(self._window)
        shown = self._release(text[self._shown :])
        rest = "" if self.stopped is not None else self._held
        self._window, self._shown, self._held = [], 0, ""
        return shown + rest

    def _advance(self) -> str:
        text = self._settled_text()
        piece = text[self._shown :]
        self._shown = len(text)
        if len(self._window) > WINDOW:
            self._window = self._window[-CONTEXT:]
            self._shown = len(self._settled_text())
        return piece

    def _settled_text(self) -> str:
        # Only the last character can still change.
        return self._tokenizer.decode(self._window).removesuffix(INCOMPLETE)

    def _release(self, piece: str) -> str:
        text = self._held + piece
        self.stopped, shown = self._stop.cut(text)
        self._held = text[shown:]
        return text[:shown]


class StopStrings:
    """Texts that end an answer; an empty one ends nothing."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = tuple(text for text in texts if text)
        self._longest = max(map(len, self._texts), default=0)

    def cut(self, text: str) -> tuple[str | None, int]:
        """Return the stop string that is completed first, and how much of `text` may be shown."""
        found = [(text.find(stop) + len(stop), -len(stop)) for stop in self._texts if stop in text]
        if found:
            end, length = min(found)
            return text[end + length : end], end + length
        return None, self._unsuspicious(text)

    def _unsuspicious(self, text: str) -> int:
        """Return where the longest beginning of a stop string at the end of `text` starts."""
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._texts):
                return start
        return len(text)
