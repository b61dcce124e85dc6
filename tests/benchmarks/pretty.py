"""Drawing an answer of 200 kB that comes in pieces of 4 bytes, against rich's Live(Markdown).

    python -m tests.benchmarks.pretty [--pairs N]

rich reads the whole answer again for each of its 10 frames a second, so its cost depends on how
fast the answer comes. Here it comes at `PIECES_PER_SECOND`, faster than one answer of an 8B model
comes from one GPU, which spares rich frames. All frames would still take too long: `FRAMES` of
them, evenly spread over the answer, are drawn and timed, and stand for the others.
"""

import io
import time
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

from tulu_cli.core import Text
from tulu_cli.render.collector import Collector
from tulu_cli.render.pretty import PrettyRenderer
from tulu_cli.streams import Streams

from .pairs import alternate
from .report import Asked, Goal, Row, at_least, at_most, compare, run

SIZE = 200_000  # bytes
PIECE = 4
PIECES_PER_SECOND = 500
FRAMES_PER_SECOND = 10
FRAMES = 12
PAIRS = 5
ANSWER = """\
## Part {0}

Here is a paragraph with **bold words**, `code` and [a link](https://example.org/{0}), as models
write them; it goes on for a while, so that a terminal has to wrap it two or three times.

1. First do this, which takes a line or so to explain.
2. Then do that:
   - with *care*
   - and patience

```python
def part_{0}(values: list[int]) -> int:
    \"\"\"Sum what is over {0}.\"\"\"
    return sum(value for value in values if value > {0})  # and no more
```

| Name | Value |
|------|------:|
| one  | {0} |
| two  | 汉字 |

"""


def answer(size: int) -> str:
    """So many bytes of Markdown of all kinds."""
    parts, taken = [], 0
    while taken < size:
        parts.append(ANSWER.format(len(parts)))
        taken += len(parts[-1].encode())
    return "".join(parts)


def ours(text: str) -> tuple[float, int]:
    """CPU seconds and bytes of the whole stream."""
    streams = Streams.test(tty=True, color=True)
    renderer = PrettyRenderer(streams, Collector(1, 1, 0))
    started = time.process_time()
    for start in range(0, len(text), PIECE):
        renderer.show(Text(text[start : start + PIECE]))
    renderer.finish("stop")
    seconds = time.process_time() - started
    assert isinstance(streams.stdout, io.BytesIO)
    return seconds, len(streams.stdout.getvalue())


def rich(text: str) -> tuple[float, float]:
    """CPU seconds and bytes of all frames, from those that are drawn."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, color_system="standard")
    seconds, written = [], []
    with Live(console=console, auto_refresh=False) as live:
        for frame in range(1, FRAMES + 1):
            before, started = out.tell(), time.process_time()
            live.update(Markdown(text[: len(text) * frame // FRAMES]), refresh=True)
            seconds.append(time.process_time() - started)
            written.append(len(out.getvalue()[before:].encode()))
    frames = len(text) / PIECE / PIECES_PER_SECOND * FRAMES_PER_SECOND
    return fmean(seconds) * frames, fmean(written) * frames


def main(asked: Asked) -> list[Row]:
    """CPU, bytes and growth."""
    text, small = answer(SIZE), answer(SIZE // 10)
    size = len(text.encode())
    ours(answer(SIZE // 100))  # imports and caches
    peer, source = f"rich's Live, from {FRAMES} frames", "the text itself"
    sides = {"ours": lambda: ours(text), peer: lambda: rich(text), "20 kB": lambda: ours(small)}
    rounds = alternate(sides, asked.pairs, warm_up=0)
    spent = rounds.each(lambda side: side[0])
    written, frames = (
        [sent for _, sent in rounds.results[name]] for name in ("ours", peer)
    )  # which no busy machine changes
    cpu, sent = "processor, 200 kB of Markdown", "bytes to the terminal"
    return [
        compare(spent, cpu, "ours", peer, "s", at_least(20, "gain")),
        Row(sent, written, peer, frames, "B", Goal("gain")),
        Row(sent, written, source, [size] * asked.pairs, "B", at_most(3)),
        compare(spent, cpu, "ours", "20 kB", "s", at_most(12)),
    ]


if __name__ == "__main__":
    run(main, pairs=PAIRS)
