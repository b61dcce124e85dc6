"""Logits to a token: the library's own processors, one seeded generator a choice."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tulu_cli.core import Sampling, TokenLogprob
from tulu_cli.errors import EngineError

# What vLLM raises a temperature to that is less and not 0 (_MAX_TEMP in vllm/sampling_params.py).
LEAST_TEMPERATURE = 0.01
Mask = Callable[[torch.Tensor], torch.Tensor]


class Sampler:
    """Samples the tokens of one choice.

    `mask` puts -inf on the logits of the tokens that a structured answer may not have.
    """

    def __init__(
        self,
        sampling: Sampling,
        index: int,
        prompt: tuple[int, ...],
        device: torch.device,
        mask: Mask | None = None,
    ) -> None:
        self._greedy = sampling.greedy
        self._top = sampling.logprobs
        self._mask = mask
        self._processors = processors(sampling, len(prompt))
        self._history = any(isinstance(one, _WITH_HISTORY) for one in self._processors)
        self._ids = torch.tensor([prompt], device=device) if self._history else None
        self._generator = torch.Generator(device).manual_seed((sampling.seed + index) % 2**63)

    @property
    def plain(self) -> bool:
        """True if the token with the highest logit is taken and nothing else is asked for."""
        return self._greedy and self._top is None and self._mask is None and not self._processors

    def next(self, logits: torch.Tensor) -> tuple[int, TokenLogprob | None]:
        """Sample from `logits`, shape (vocabulary,); logprobs are those of the raw logits.

        Raise EngineError where they leave nothing to choose from.
        """
        raw = logits.float()
        allowed = raw if self._mask is None else self._mask(raw)
        history = self._ids if self._ids is not None else torch.empty((1, 0), dtype=torch.long)
        scores = self._processors(history, allowed[None])[0]
        # The greatest is NaN if any is. On a GPU, drawing from such scores would end the process.
        if not scores.max().isfinite():
            raise EngineError(_why_none(raw, allowed))
        token = self._draw(scores)
        return token, None if self._top is None else token_logprob(raw, token, self._top)

    def begin_answer(self, mask: Mask | None, ahead: int = 0) -> None:
        """Count the answer from here, or `ahead` tokens on, and let `mask` bind it if there is one.

        So does an engine that is asked again there, with a prompt of all that has come.
        """
        self._mask = mask
        for one in self._processors:
            if isinstance(one, AnswerPenalty) and self._ids is not None:
                one.begin = self._ids.shape[1] + ahead

    def take(self, token: int) -> None:
        """Count a token as one that has come."""
        if self._ids is not None:
            self._ids = torch.cat([self._ids, self._ids.new_tensor([[token]])], dim=1)

    def _draw(self, scores: torch.Tensor) -> int:
        if self._greedy:
            return int(scores.argmax())
        probabilities = scores.softmax(-1)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


class AnswerPenalty(LogitsProcessor):
    """OpenAI's penalties for the tokens of the answer: `frequency` a time, and `presence` once.

    They are taken off the logits, for the tokens behind the first `begin` of the ids.
    """

    def __init__(self, frequency: float, presence: float, begin: int) -> None:
        self._frequency = frequency
        self._presence = presence
        self.begin = begin

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, (1, vocabulary), less the penalties."""
        tokens, counts = input_ids[0, self.begin :].unique(return_counts=True)
        penalized = scores.clone()
        penalized[0, tokens] -= self._frequency * counts + self._presence
        return penalized


_WITH_HISTORY = (RepetitionPenaltyLogitsProcessor, AnswerPenalty)


def processors(sampling: Sampling, prompt_tokens: int) -> LogitsProcessorList:
    """Return the processors of these sampling parameters, in the order that vLLM has."""
    chain = LogitsProcessorList()
    if sampling.logit_bias:
        bias = {(token,): float(value) for token, value in sampling.logit_bias.items()}
        chain.append(SequenceBiasLogitsProcessor(bias))
    if sampling.repetition_penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.frequency_penalty or sampling.presence_penalty:
        penalty = sampling.frequency_penalty, sampling.presence_penalty, prompt_tokens
        chain.append(AnswerPenalty(*penalty))
    if sampling.greedy:
        return chain
    if sampling.temperature != 1.0:
        chain.append(TemperatureLogitsWarper(max(sampling.temperature, LEAST_TEMPERATURE)))
    if sampling.min_p > 0:
        chain.append(MinPLogitsWarper(sampling.min_p))
    if sampling.top_k > 0:
        chain.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        chain.append(TopPLogitsWarper(sampling.top_p))
    return chain


def _why_none(raw: torch.Tensor, allowed: torch.Tensor) -> str:
    """Return why no token can be chosen, from the logits and those that the constraint allows."""
    if not raw.max().isfinite():
        return (
            "No next token can be chosen, because the model's logits are not finite numbers; "
            "--dtype float32 has the widest range."
        )
    if not allowed.max().isfinite():
        return "No next token can be chosen, because the constraint allows none here."
    return (
        "No next token can be chosen: with this repetition_penalty and temperature the logits "
        "leave the range of float32."
    )


def token_logprob(logits: torch.Tensor, token: int, top: int) -> TokenLogprob:
    """Return the logprob of `token` and of the `top` best, from logits (vocabulary,)."""
    logprobs = logits.log_softmax(-1)
    values, ids = logprobs.topk(top) if top else (logprobs[:0], logprobs[:0])
    best = zip(ids.tolist(), values.tolist(), strict=True)
    return TokenLogprob(token, float(logprobs[token]), tuple((int(i), v) for i, v in best))


class ConstraintMask:
    """Follows one choice through its grammar: which tokens may come next."""

    def __init__(self, tokenizer: Any, made: str) -> None:
        import llguidance

        self._matcher = llguidance.LLMatcher(tokenizer, made)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Return `logits`, (vocabulary,), with -inf at every token that the grammar forbids."""
        # One byte a token: 0 where forbidden.
        bias = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        size = min(len(bias), len(logits))
        allowed[:size] = bias[:size].to(logits.device).bool()
        return logits.masked_fill(~allowed, float("-inf"))

    def take(self, token: int) -> None:
        """Advance over the sampled token; after a complete answer only an end token may come."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)


def tokenizer_for(tokenizer_json: str, vocabulary: int, end_tokens: tuple[int, ...]) -> Any:
    """Return llguidance's view of a tokenizer.json over a model's vocabulary, in up to a second."""
    import llguidance

    return llguidance.LLTokenizer(tokenizer_json, n_vocab=vocabulary, eos_token=list(end_tokens))
