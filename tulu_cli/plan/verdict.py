"""Whether a plan fits, and why not."""

from dataclasses import dataclass
from enum import StrEnum

from tulu_cli.plan.vllm import CONTEXT, Estimate
from tulu_cli.text import gib


class Verdict(StrEnum):
    """The answer. `TIGHT` is inside the uncertainty: it is likely to fit, but not sure to."""

    FITS = "fits"
    TIGHT = "fits tightly"
    NOT = "does not fit"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the sentence that says why."""

    verdict: Verdict
    reason: str

    @property
    def fits(self) -> bool:
        """Whether it is worth a try."""
        return self.verdict is not Verdict.NOT


def judge(plan: Estimate, concurrency: int = 1) -> Judgement:
    """Whether so many requests of the longest context can be served at once."""
    free = plan.gpu.free_bytes - CONTEXT.low
    if free < plan.requested and plan.gpu.free_bytes < plan.gpu.total_bytes:
        return Judgement(
            Verdict.NOT,
            f"vLLM would take {gib(plan.requested)} of each GPU, and only {gib(max(0, free))} "
            "are free: other programs hold the rest",
        )
    rank = plan.tightest
    needed = plan.needed_blocks(plan.run.max_model_len, concurrency)
    size = needed * plan.caches[rank.stage].block_bytes
    sentence = (
        f"{concurrency} x {plan.run.max_model_len:,} tokens need {gib(size)} of KV cache, "
        f"and {gib(rank.kv.expected)} will be there"
    )
    if plan.blocks.expected < needed:
        if rank.kv.expected < 0:
            sentence = (
                f"weights, activations and libraries need {gib(plan.requested - rank.kv.expected)} "
                f"of each GPU, and vLLM may take {gib(plan.requested)}"
            )
        return Judgement(Verdict.NOT, sentence)
    most = max(plan.occupied(each).expected for each in plan.ranks)
    if most > plan.gpu.total_bytes:
        return Judgement(
            Verdict.NOT,
            f"{gib(most)} would be in use with CUDA graphs and context, which are outside the "
            f"budget, on a GPU of {gib(plan.gpu.total_bytes)}",
        )
    if plan.blocks.low < needed:
        low = plan.ranks[rank.stage].kv.low
        return Judgement(Verdict.TIGHT, f"{sentence}, or as little as {gib(max(0, low))}")
    if max(plan.occupied(each).high for each in plan.ranks) > plan.gpu.total_bytes:
        return Judgement(Verdict.TIGHT, "CUDA graphs and context may not find room on the card")
    return Judgement(Verdict.FITS, sentence)
