"""Time to first token of the second turn of a long chat, against prefilling all of it again.

`transformers chat` sends the whole conversation to a server that computes all of it anew each time;
`cold` does that with the same engine, so that nothing but the kept cache differs.

    python -m tests.benchmarks.chat [TOKENS] [--pairs N]
"""

from typing import Any

from tests.chat.repl.scripted import Script
from tulu_cli.chat.chat import Chat
from tulu_cli.chat.line.terminal import Interrupts, TypeAhead
from tulu_cli.chat.model import LoadedModel
from tulu_cli.chat.store.base import MemoryStore
from tulu_cli.chat.turn import send
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import read_machine
from tulu_cli.render import choose
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams

from .pairs import alternate
from .report import Asked, Row, at_least, compare, run

PAIRS = 9
TOKENS = 1500  # on a processor without bf16 instructions 4,000 take two minutes
STORY = "Once there was a fox who lived near a river. "


def open_chat(**values: Any) -> Chat:
    """A chat with the demo model on the transformers engine, which keeps nothing on disk."""
    streams = Streams.test()
    given = {"model": "demo", "engine": "transformers", "temperature": 0.0, "max_tokens": 8}
    settings = Settings({name: Setting(value, "flag") for name, value in (given | values).items()})
    return Chat(
        model=LoadedModel(LoadOptions(settings, no_server=True), read_machine(), streams),
        store=MemoryStore(),
        streams=streams,
        reader=Script([], interactive=False),
        renderer=lambda request: choose.chat(streams, request, plain=True),
        settings=settings,
        interrupts=Interrupts(),
        type_ahead=TypeAhead(streams),
    )


def first_token(chat: Chat, text: str) -> float:
    """Seconds to the first token of the answer to a text."""
    send(chat, text)
    assert chat.last is not None
    return chat.last.timings.first_token


def main(asked: Asked) -> list[Row]:
    """The same second turn with the cache of the first one of so many tokens, and without."""
    tokens, chat = asked.number(TOKENS), open_chat()
    per_story = len(chat.model.tokenizer.encode_text(STORY * 10)) / 10
    story = STORY * int(tokens / per_story)
    send(chat, story)
    first = chat.session

    def kept() -> float:
        chat.begin(None)
        send(chat, story)
        seconds = first_token(chat, "And then?")
        assert chat.last.usage.cached_tokens > 0.95 * tokens
        return seconds

    def cold() -> float:
        chat.session = first
        chat.model.engine().forget()
        seconds = first_token(chat, "And then?")
        assert chat.last.usage.cached_tokens == 0
        return seconds

    peer = "all prefilled again"
    rounds = alternate({"ours": kept, peer: cold}, asked.pairs)
    prompt = chat.last.usage.prompt_tokens
    what = f"tulu chat, first token of the second turn, {prompt:,} tokens"
    return [compare(rounds, what, "ours", peer, "s", at_least(10, "gain"))]


if __name__ == "__main__":
    run(main, number="TOKENS", pairs=PAIRS)
