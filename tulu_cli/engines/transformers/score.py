"""Logprobs of tokens that are given: forward passes after which nothing is sampled."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tulu_cli.core import Score, ScoreRequest, TokenLogprob
from tulu_cli.engines.transformers.adapters import LoadedAdapters
from tulu_cli.engines.transformers.cache import cache_argument, common_prefix, new_cache

# Numbers in the logits of one forward pass; in float32 they are 256 MiB.
_MOST_LOGITS = 2**26


class Scorer:
    """Scores groups of completions with `model`, at most `chunk` tokens of a row in a pass."""

    def __init__(self, model: Any, chunk: int, adapters: LoadedAdapters) -> None:
        self._adapters = adapters
        self._model = model
        self._chunk = chunk
        self._cache_argument = cache_argument(model)
        self._vocabulary: int = model.config.get_text_config().vocab_size

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Return the scores of a group, which is computed as one batch.

        It is padded on the right, where no token that counts can attend. All have one adapter.
        """
        self._adapters.use((requests[0].adapter,))
        found: list[list[TokenLogprob]] = [[] for _ in requests]
        for start, logits in self._logits(requests):
            for entries, request, row in zip(found, requests, logits, strict=True):
                # The logits at a place are about the token behind it.
                begin = max(request.context_tokens, start + 1)
                targets = request.token_ids[begin : start + 1 + len(row)]
                if targets:
                    first = begin - start - 1
                    logits_of = row[first : first + len(targets)]
                    entries += token_logprobs(logits_of, targets, request.top)
        return [Score(tuple(entries)) for entries in found]

    def _logits(self, requests: Sequence[ScoreRequest]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield positions with the logits from there on, shape (rows, tokens, vocabulary)."""
        fed = [request.token_ids[:-1] for request in requests]
        longest = max(map(len, fed))
        padded = [(*ids, *[0] * (longest - len(ids))) for ids in fed]
        tokens = torch.tensor(padded, device=self._model.device)
        cache = new_cache(self._model.config)
        first = min(request.context_tokens for request in requests) - 1
        shared = min(common_prefix(list(fed[0]), ids[:first]) for ids in fed)
        for start, end in steps(0, shared, self._chunk):
            self._forward(tokens[:1, start:end], cache, 1)
        if shared and len(fed) > 1:
            cache.batch_repeat_interleave(len(fed))
        for start, end in steps(shared, first, self._chunk):
            self._forward(tokens[:, start:end], cache, 1)
        few = max(1, min(self._chunk, _MOST_LOGITS // (len(fed) * self._vocabulary)))
        for start, end in steps(first, longest, few):
            yield start, self._forward(tokens[:, start:end], cache, 0)

    def _forward(self, ids: torch.Tensor, cache: Any, keep: int) -> torch.Tensor:
        """Feed tokens; return the logits of the last `keep` of them, or of all if 0."""
        given = {self._cache_argument: cache}
        with torch.inference_mode():
            output = self._model(input_ids=ids, use_cache=True, logits_to_keep=keep, **given)
        logits: torch.Tensor = output.logits
        return logits


def steps(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the range from `start` to `end` in pieces of at most `size`."""
    for begin in range(start, end, size):
        yield begin, min(begin + size, end)


def token_logprobs(
    logits: torch.Tensor, targets: Sequence[int], top: int
) -> Iterator[TokenLogprob]:
    """Yield the entry of each target from the logits in its place, (tokens, vocabulary)."""
    logprobs = logits.float().log_softmax(-1)
    wanted = torch.tensor([targets], device=logits.device).T
    chosen = logprobs.gather(-1, wanted)[:, 0].tolist()
    best, best_ids = (each.tolist() for each in logprobs.topk(top))
    for token, logprob, ids, values in zip(targets, chosen, best_ids, best, strict=True):
        yield TokenLogprob(token, logprob, tuple(zip(ids, values, strict=True)))
