"""Many requests in one padded batch."""

import time
from collections.abc import Iterator

from tulu_cli.core import Completion, Request, Text
from tulu_cli.engines.assemble import completion
from tulu_cli.engines.decoding.cache import new_cache
from tulu_cli.engines.decoding.loop import Decoder, Padding, Row
from tulu_cli.engines.decoding.rows import RowMaker


def run_group(
    decoder: Decoder, maker: RowMaker, group: list[tuple[int, Request]]
) -> Iterator[tuple[int, list[Completion]]]:
    """Answer all requests of `group` together: each position with its choices, as they finish."""
    started = time.perf_counter()
    rows = [row for position, request in group for row in maker.make(position, request, started)]
    prompts = [request.prompt_token_ids for _, request in group for _ in range(request.sampling.n)]
    padding = Padding.of(prompts, decoder.device)
    longest = max(map(len, prompts))
    padded = [(0,) * (longest - len(ids)) + ids for ids in prompts]
    cache = new_cache(maker.model.config)
    for _, logits in decoder.prefill(padded, cache, 0, padding):  # noqa: B007 (the last counts)
        pass
    answers = Answers({position: request.sampling.n for position, request in group})
    for row, event in decoder.decode(rows, logits, cache, [], padding):
        if isinstance(event, Text):
            answers.add(row, event)
        elif (choices := answers.finish(row, completion(answers.take(row), event))) is not None:
            yield row.position, choices


class Answers:
    """Collects the pieces of many choices until all `wanted` choices of a request are there."""

    def __init__(self, wanted: dict[int, int]) -> None:
        self._wanted = wanted
        self._pieces: dict[tuple[int, int], list[Text]] = {}
        self._finished: dict[int, list[Completion]] = {}

    def add(self, row: Row, piece: Text) -> None:
        """One more piece of a choice."""
        self._pieces.setdefault((row.position, piece.index), []).append(piece)

    def take(self, row: Row) -> list[Text]:
        """All pieces of a choice, which has ended."""
        return self._pieces.pop((row.position, row.assembler.index), [])

    def finish(self, row: Row, choice: Completion) -> list[Completion] | None:
        """One more finished choice; all of them in order, once the last has come."""
        choices = self._finished.setdefault(row.position, [])
        choices.append(choice)
        if len(choices) < self._wanted[row.position]:
            return None
        return sorted(self._finished.pop(row.position), key=lambda one: one.done.index)
