"""Which tokens a structured answer may have next."""

from typing import Any

import torch


class ConstraintMask:
    """Follows one choice through its grammar: which tokens may come next, and is it complete."""

    def __init__(self, tokenizer: Any, made: str) -> None:
        import llguidance

        self._matcher = llguidance.LLMatcher(tokenizer, made)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` of shape (vocabulary,) with -inf at every token that the grammar forbids."""
        # One byte a token: 0 where forbidden.
        bias = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        size = min(len(bias), len(logits))
        allowed[:size] = bias[:size].to(logits.device).bool()
        return logits.masked_fill(~allowed, float("-inf"))

    def take(self, token: int) -> None:
        """Move over the sampled token. After a complete answer only an end token is allowed."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)


def tokenizer_for(tokenizer_json: str, vocabulary: int, end_tokens: tuple[int, ...]) -> Any:
    """Llguidance's view of a tokenizer.json over a model's vocabulary; costs up to a second."""
    import llguidance

    return llguidance.LLTokenizer(tokenizer_json, n_vocab=vocabulary, eos_token=list(end_tokens))
