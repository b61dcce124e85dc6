"""An engine with the demo model, and requests for it."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tulu_cli.core import Done, Message, Request, Sampling, Usage
from tulu_cli.engines.base import Engine, EngineSpec
from tulu_cli.engines.choose import choose, load
from tulu_cli.machine import read_machine
from tulu_cli.prompt import Tokenizer, encode_chat

END = (2,)
CONTEXT = 1024


def load_engine(name: str, directory: Path, **changes: Any) -> Engine:
    """Load the model in float32, in which two engines can be compared."""
    values: dict[str, Any] = {"dtype": "float32", "max_model_len": CONTEXT} | changes
    spec = EngineSpec("demo", directory, Tokenizer.load(directory), **values)
    return load(choose(name, read_machine()), spec)


class Asker:
    """Makes requests for an engine whose tokenizer it knows."""

    def __init__(self, directory: Path) -> None:
        self.tokenizer = Tokenizer.load(directory)

    @cached_property
    def white_space(self) -> tuple[int, ...]:
        """The tokens of white space alone."""
        tokenizer = self.tokenizer
        ids = range(tokenizer.vocab_size)
        return tuple(one for one in ids if tokenizer.decode((one,), False).isspace())

    def ids(self, text: str, *earlier: str) -> tuple[int, ...]:
        """The prompt of a conversation: `earlier` turns alternate, then the user says `text`."""
        roles = ("user", "assistant")
        turns = [Message(roles[i % 2], turn) for i, turn in enumerate(earlier)]
        return encode_chat(self.tokenizer, (*turns, Message("user", text)))

    def request(self, text: str = "Why is the sky blue?", /, **sampling: Any) -> Request:
        """A greedy request of at most 16 tokens, unless `sampling` says otherwise."""
        values: dict[str, Any] = {"temperature": 0.0, "max_tokens": 16} | sampling
        return Request(self.ids(text), Sampling(**values), END)


def usage_of(end: Done) -> Usage:
    """The token counts of an answer, which are known."""
    assert end.usage is not None
    return end.usage
