"""Prefill and decode: the model's forward passes, one token a step, for one row or many."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from tulu_cli.core import Constraint, Done, Request, Text, TokenLogprob
from tulu_cli.engines.assemble import ChoiceAssembler
from tulu_cli.engines.base import check_bias, first_line
from tulu_cli.engines.guidance import grammar
from tulu_cli.engines.thinking import ThoughtGuide, is_guided
from tulu_cli.engines.transformers.adapters import LoadedAdapters
from tulu_cli.engines.transformers.cache import cache_argument
from tulu_cli.engines.transformers.sampler import ConstraintMask, Sampler, tokenizer_for
from tulu_cli.errors import DoesNotFit, EngineError, TuluError
from tulu_cli.prompt import Tokenizer


@dataclass
class BatchRow:
    """One running choice; `position` is its request's place in the input.

    `token` is the one that came last. A choice that cannot go on has a `failure`. A `guide` is
    there as long as a thought may come; the `mask` binds what is sampled once it is gone.
    """

    position: int
    assembler: ChoiceAssembler
    sampler: Sampler
    mask: ConstraintMask | None = None
    guide: ThoughtGuide | None = None
    adapter: str | None = None
    token: int = 0
    failure: TuluError | None = None

    @property
    def has_ended(self) -> bool:
        """Return True once no token will follow."""
        return self.assembler.finish is not None or self.failure is not None

    @property
    def is_plain(self) -> bool:
        """Return True if the likeliest token comes next, and nothing else is asked for."""
        return self.guide is None and self.sampler.plain

    def next(self, logits: torch.Tensor) -> tuple[int, TokenLogprob | None]:
        """Return the next token, from `logits`, shape (vocabulary,), or without being sampled.

        Raise EngineError where nothing can be chosen.
        """
        guide = self.guide
        if guide is None:
            return self.sampler.next(logits)
        if not guide.fed and not guide.is_over:
            token, logprob = self.sampler.next(logits)
            if guide.take(token):
                return token, logprob
        if guide.fed:
            self.assembler.reasoning_truncated = guide.has_cut
            self.sampler.begin_answer(None, len(guide.fed))
            return guide.feed()
        self.guide = None
        if self.mask is not None:
            self.sampler.begin_answer(self.mask)
        return self.sampler.next(logits)

    def push(self, token: int, logprob: TokenLogprob | None) -> Iterator[Text | Done]:
        """Take a token; yield its text, and the end if it is one."""
        self.token = token
        self.sampler.take(token)
        yield from self.assembler.push(token, logprob)
        if self.mask is not None and self.guide is None and self.assembler.finish is None:
            self.mask.take(token)
        if self.assembler.finish is not None:
            yield self.assembler.done()


@dataclass
class Padding:
    """Left padding of a batch: `attention` has a 1 for each real token, shape (rows, tokens)."""

    attention: torch.Tensor

    @classmethod
    def of(cls, prompts: list[tuple[int, ...]], device: torch.device) -> "Padding":
        """Return the padding that brings these prompts to one length."""
        longest = max(map(len, prompts))
        masks = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
        return cls(torch.tensor(masks, device=device))

    def arguments(self, start: int, end: int) -> dict[str, torch.Tensor]:
        """Return the mask and positions for a forward pass over tokens `start` to `end`."""
        positions = (self.attention.cumsum(-1) - 1).clamp(min=0)
        return {
            "attention_mask": self.attention[:, :end],
            "position_ids": positions[:, start:end],
        }

    def select(self, rows: torch.Tensor) -> None:
        """Keep only the rows at these indices."""
        self.attention = self.attention[rows]

    def unused(self) -> int:
        """Return how many tokens on the left are padding in every row."""
        return int(self.attention.any(0).int().argmax())

    def merge(self, other: "Padding", skip: int) -> None:
        """Append the rows of `other`, after dropping `skip` tokens on the left of these."""
        parts = (self.attention[:, skip:], other.attention)
        longest = max(part.shape[1] for part in parts)
        padded = [torch.nn.functional.pad(part, (longest - part.shape[1], 0)) for part in parts]
        self.attention = torch.cat(padded)

    def grow(self) -> None:
        """Add one real token to each row."""
        self.attention = torch.cat(
            [self.attention, self.attention.new_ones(len(self.attention), 1)], -1
        )


class Decoder:
    """Runs forward passes of `model`, `chunk` prompt tokens at a time, to notice a cancel."""

    def __init__(self, model: Any, chunk: int, adapters: LoadedAdapters | None = None) -> None:
        self.device: torch.device = model.device
        self._adapters = adapters or LoadedAdapters(model)
        self._model = model
        self._chunk = chunk
        self._cache_argument = cache_argument(model)

    def prefill(
        self,
        ids: list[tuple[int, ...]],
        cache: Any,
        start: int,
        padding: Padding | None = None,
        *,
        adapters: Sequence[str | None] = (None,),
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Feed the rows `ids`, of one length, from `start`; yield each chunk's end and logits.

        `adapters` has the one of each row.
        """
        tokens = torch.tensor(ids, device=self.device)
        length = tokens.shape[1]
        for begin in range(start, length, self._chunk):
            end = min(begin + self._chunk, length)
            extra = padding.arguments(begin, end) if padding else {}
            yield end, self._forward(tokens[:, begin:end], cache, extra, adapters)

    def decode(
        self,
        rows: list[BatchRow],
        logits: torch.Tensor,
        cache: Any,
        fed: list[int],
    ) -> Iterator[Text | Done]:
        """Sample and feed until every row has ended. `fed` grows by the first row's fed tokens.

        Raise the failure of a row once the others have ended.
        """
        everyone = rows
        while True:
            for _, event in sample(rows, logits):
                yield event
            alive = [i for i, row in enumerate(rows) if not row.has_ended]
            if not alive:
                break
            if len(alive) < len(rows):
                cache.batch_select_indices(torch.tensor(alive, device=self.device))
                rows = [rows[i] for i in alive]
            logits = self.step(rows, cache)
            fed.append(rows[0].token)
        for row in everyone:
            if row.failure is not None:
                raise row.failure

    def step(
        self, rows: list[BatchRow], cache: Any, padding: Padding | None = None
    ) -> torch.Tensor:
        """Feed its last token to each row; return the next logits, shape (rows, vocabulary)."""
        ids = torch.tensor([[row.token] for row in rows], device=self.device)
        adapters = [row.adapter for row in rows]
        if padding is None:
            return self._forward(ids, cache, {}, adapters)
        padding.grow()
        end = padding.attention.shape[1]
        return self._forward(ids, cache, padding.arguments(end - 1, end), adapters)

    def _forward(
        self,
        ids: torch.Tensor,
        cache: Any,
        extra: dict[str, torch.Tensor],
        adapters: Sequence[str | None],
    ) -> torch.Tensor:
        self._adapters.use(adapters)
        arguments = {self._cache_argument: cache, **extra}
        with torch.inference_mode():
            output = self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **arguments)
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def sample(rows: list[BatchRow], logits: torch.Tensor) -> Iterator[tuple[BatchRow, Text | Done]]:
    """Give each row its next token from `logits`, (rows, vocabulary); yield what that makes.

    A row that cannot be given one is left with its failure, and stops no other. Raise DoesNotFit
    if memory runs out.
    """
    likeliest = _likeliest(logits) if all(row.is_plain for row in rows) else None
    for i, row in enumerate(rows):
        try:
            with translated():
                if likeliest is None:
                    token, logprob = row.next(logits[i])
                else:
                    token, logprob = likeliest[i], None
                events = list(row.push(token, logprob))
        except DoesNotFit:
            raise
        except TuluError as error:
            row.failure = error
            continue
        for event in events:
            yield row, event


def _likeliest(logits: torch.Tensor) -> list[int] | None:
    """Return the token with the highest logit of each row, None if one has no such token."""
    tokens = logits.argmax(-1, keepdim=True)  # that of a NaN, if there is one
    return tokens[:, 0].tolist() if logits.gather(-1, tokens).isfinite().all() else None


@dataclass
class RowMaker:
    """Makes rows for `model`; keeps the tokenizer of grammars, which is slow to make."""

    tokenizer: Tokenizer
    model: Any
    adapters: LoadedAdapters | None = None

    def __post_init__(self) -> None:
        self._guidance: dict[tuple[int, ...], Any] = {}

    def make(
        self, position: int, request: Request, started: float, cached: int = 0
    ) -> list[BatchRow]:
        """Return the rows of the request at `position`.

        Raise BadInput for a constraint that is not valid, a bias of a token that is not there, or
        an adapter that is not loaded.
        """
        check_bias(request.sampling, self.model.config.get_text_config().vocab_size)
        if self.adapters is not None:
            self.adapters.check(request.adapter)
        return [
            self._row(position, request, index, started, cached)
            for index in range(request.sampling.n)
        ]

    def _row(
        self, position: int, request: Request, index: int, started: float, cached: int
    ) -> BatchRow:
        mask = self._mask(request.sampling.constraint, request.stop_token_ids)
        device = self.model.device
        guide = ThoughtGuide(request, self.tokenizer) if is_guided(request) else None
        bound = mask if guide is None else None
        sampler = Sampler(request.sampling, index, request.prompt_token_ids, device, bound)
        assembler = ChoiceAssembler(request, self.tokenizer, index, started, cached)
        return BatchRow(position, assembler, sampler, mask, guide, request.adapter)

    def _mask(
        self, constraint: Constraint | None, end_tokens: tuple[int, ...]
    ) -> ConstraintMask | None:
        if constraint is None:
            return None
        made = grammar(constraint)
        if end_tokens not in self._guidance:
            vocabulary = self.model.config.get_text_config().vocab_size
            self._guidance[end_tokens] = tokenizer_for(
                self.tokenizer.backend.to_str(), vocabulary, end_tokens
            )
        return ConstraintMask(self._guidance[end_tokens], made)


@contextmanager
def translated() -> Iterator[None]:
    """Raise DoesNotFit if memory runs out inside, EngineError for any other failure."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DoesNotFit(
            "Memory ran out while generating; a shorter context, a smaller dtype or quantization "
            f"needs less ({first_line(error)})."
        ) from error
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise EngineError(f"transformers failed while generating: {first_line(error)}.") from error
