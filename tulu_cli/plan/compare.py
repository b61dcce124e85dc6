"""A start-up log of vLLM beside the plan of the same start: what differs, and what explains it."""

from collections.abc import Iterator
from typing import NamedTuple

from tulu_cli.plan.log import Log
from tulu_cli.plan.search import Plan
from tulu_cli.plan.values import GIB
from tulu_cli.plan.vllm import Estimate, Rank, Run
from tulu_cli.text import gib, listed, told

# Half of the last digit that a log prints.
_ROUNDING = GIB // 200
# Differences up to these are no news: the goals that the plan itself is held to.
_NEAR_WEIGHTS, _NEAR = 0.005, 0.02
_FEW_TIMES = 1.3


class Row(NamedTuple):
    """One figure of both: bytes of memory, or a number of so many `digits` after the point."""

    name: str
    logged: float
    planned: float
    digits: int | None = None

    @property
    def is_memory(self) -> bool:
        """True for bytes."""
        return self.digits is None

    @property
    def difference(self) -> float | None:
        """The plan's figure less the log's, as a part of the log's; None for a part of nothing."""
        return (self.planned - self.logged) / self.logged if self.logged > 0 else None


class Comparison(NamedTuple):
    """The figures that the log and the plan both have, and sentences that explain differences.

    `ended` is how the start ended by the log, None where it does not tell; `agrees` is True if the
    plan's verdict says so too, None where the two are not of one model on one kind of machine.
    """

    plan: Plan
    rows: tuple[Row, ...]
    ended: str | None
    agrees: bool | None
    reasons: tuple[str, ...]


def compare(log: Log, plan: Plan) -> Comparison:
    """Return the figures of a log beside those of a plan that has the log's settings."""
    rows = tuple(_rows(log, plan.estimate))
    started = log.failure is None and (log.tokens is not None or log.concurrency is not None)
    ended = log.failure or ("it started" if started else None)
    agrees = None
    if ended and not (log.cpu or any(row.name == "weights" and _is_other(row) for row in rows)):
        agrees = plan.judgement.fits == started
    return Comparison(plan, rows, ended, agrees, tuple(_reasons(log, plan.estimate, rows)))


def _rows(log: Log, found: Estimate) -> Iterator[Row]:
    yield from _rows_of_parts(log, found)
    rank = found.tightest
    if log.kv_cache:
        yield Row("KV cache", min(log.kv_cache), rank.kv.expected)
    if log.tokens is not None:
        yield Row("KV cache tokens", log.tokens, found.tokens(found.blocks.expected), 0)
    if log.concurrency is not None:
        planned = found.concurrency(found.blocks.expected)
        yield Row("maximum concurrency", log.concurrency, planned, 2)
    if log.needed is not None:
        needed = found.needed_blocks(found.run.max_model_len, 1) - found.rules.reserved_blocks
        yield Row("KV cache needed", log.needed, needed * found.caches[rank.stage].block_bytes)


def _rows_of_parts(log: Log, found: Estimate) -> Iterator[Row]:
    """Yield the figures of what is not the KV cache."""
    rank = found.tightest
    if log.weights:
        yield Row("weights", max(log.weights), max(map(_loaded, found.ranks)))
    if log.consumed is not None and log.activation is not None:
        yield Row("consumed and peak", log.consumed + log.activation, _taken(found, rank))
    elif log.activation is not None:
        peak = rank.activation.expected + rank.compiling.expected
        yield Row("peak activation", log.activation, peak)
    if log.non_torch is not None:
        yield Row("non-torch memory", log.non_torch, rank.other.expected)
    if log.images is not None and found.images is not None:
        budget = max(found.batched, found.images.tokens)
        yield Row("encoder's tokens", log.images, budget, 0)
    if log.graphs is not None or log.graph_estimate is not None:
        graphs = log.graphs if log.graphs is not None else log.graph_estimate or 0
        yield Row("CUDA graphs", graphs, max(each.graphs.expected for each in found.ranks))


def _taken(found: Estimate, rank: Rank) -> int:
    """Return all but the KV cache of what vLLM takes of a GPU."""
    working = rank.activation.expected + rank.compiling.expected + rank.other.expected
    graphs = rank.graphs.expected if found.graphs_in_budget else 0
    return _loaded(rank) + working + graphs


def _loaded(rank: Rank) -> int:
    """Return what is in "Model loading took": load_model of vLLM's v1/worker/gpu_model_runner.py.

    The slots of adapters and a draft model are loaded there too.
    """
    return rank.weights + rank.adapters + rank.draft


def _reasons(log: Log, found: Estimate, rows: tuple[Row, ...]) -> Iterator[str]:
    yield from _of_log(log, found.run)
    by_name = {row.name: row for row in rows}
    if (weights := by_name.get("weights")) and _is_far(weights, _NEAR_WEIGHTS):
        yield _of_weights(log, found, weights)
        if _is_other(weights):
            return
    if token := _token_reason(log, found):
        yield token
    cache = by_name.get("KV cache")
    if cache is not None and _is_far(cache, _NEAR):
        yield from _of_cache(log, found, rows, cache)


def _of_log(log: Log, run: Run) -> Iterator[str]:
    """Yield what the log has and the plan has not."""
    if log.cpu:
        yield "The log is of vLLM on a CPU, of which no plan counts more than weights and KV cache."
    if log.failure is None and log.tokens is None and log.concurrency is None:
        yield "The log ends before the start did."
    counted = {"a draft model": run.draft, "adapters": run.adapters}
    if beyond := [each for each in log.beyond if counted.get(each) is None]:
        yield f"The log has {listed(beyond)}, whose memory this plan does not count."
    if log.ngrams and run.drafting is None:
        yield "The log has a draft of n-grams, which --draft ngram plans for."


def _of_cache(log: Log, found: Estimate, rows: tuple[Row, ...], cache: Row) -> Iterator[str]:
    """Yield where the memory is that the log's KV cache has more or less than the plan's."""
    warm = min(rank.kv.expected + rank.compiling.expected for rank in found.ranks)
    if warm > max(0, found.tightest.kv.expected) and log.compiled is not True:
        after = abs(warm - cache.logged)
        if log.compiled is False or after < abs(cache.planned - cache.logged) / 2:
            yield (
                "The compiled kernels were in the cache"
                + ("" if log.compiled is False else ", it seems")
                + f": planned with them there, the KV cache is {gib(warm)}, "
                f"{_per_cent(warm, cache.logged)} of the log's."
            )
            return
    parts = [row for row in rows if row.name in _PARTS and _is_far(row, 0)]
    if parts:
        most = max(parts, key=lambda row: abs(row.planned - row.logged))
        more = "less" if most.planned > most.logged else "more"
        size = gib(abs(most.planned - most.logged))
        yield f"Most of it is in {most.name}: {size} {more} than planned."
    taken = _unseen(log, found)
    if taken and not any(row.name in ("consumed and peak", "peak activation") for row in rows):
        yield (
            f"Beside weights and KV cache the start took {gib(taken[0])}, and the plan has "
            f"{gib(taken[1])} for activations and libraries: another size of the batch, other "
            "programs on the GPU, or kernels that the plan does not know."
        )
    elif log.consumed is not None and parts:
        yield (
            "What is consumed is measured by the driver: memory that other programs took during "
            "the start, as a desktop does, is in it."
        )


_PARTS = ("weights", "consumed and peak", "peak activation", "non-torch memory")


def _is_far(row: Row, near: float) -> bool:
    """Return True for a difference beyond the rounding of the log and `near`."""
    rounding = _ROUNDING if row.is_memory else 0
    return abs(row.planned - row.logged) > rounding + near * abs(row.logged)


def _is_other(row: Row) -> bool:
    """Return True for weights that differ too much to be of one model on one lay-out."""
    return not row.planned / _FEW_TIMES <= row.logged <= row.planned * _FEW_TIMES


def _of_weights(log: Log, found: Estimate, row: Row) -> str:
    label = found.model.quantization or "none"
    if _is_other(row):
        times = row.planned / row.logged if row.logged > 0 else 0
        names = [told(name) for name in (log.model, log.quantization) if name]
        said = f"; the log names {listed(names)}" if names else ""
        return (
            f"The weights differ {times:.1f} times: the log is of another model, data type, number "
            f"of GPUs or quantization (planned: {label}{said})."
        )
    return (
        "The weights differ: modules that stay plain, an encoder, a draft model or adapters are "
        "loaded beside what the plan knows, or the checkpoint differs from its config.json."
    )


def _token_reason(log: Log, found: Estimate) -> str | None:
    """Return why the log's memory and its tokens do not belong together as in the plan."""
    if not log.kv_cache or not log.tokens:
        return None
    cache = found.caches[found.tightest.stage]
    size = min(log.kv_cache)
    blocks = size // cache.block_bytes
    planned = found.tokens(blocks)
    slack = (_ROUNDING + 2 * cache.block_bytes) / size if size > 0 else 1
    if not planned or abs(planned / log.tokens - 1) <= slack + 0.001:
        return None
    return (
        f"{gib(size)} hold {log.tokens:,} tokens in the log and {planned:,} in the plan, whose "
        f"KV cache is {found.kv_dtype}: the log has another --kv-cache-dtype, block size or "
        "context, or more layers, as with a draft model."
    )


def _unseen(log: Log, found: Estimate) -> tuple[int, int] | None:
    """Return what the start took beside weights and KV cache, by the log and by the plan."""
    if not (log.weights and log.kv_cache) or found.run.kv_cache_bytes is not None:
        return None
    logged = found.requested - max(log.weights) - min(log.kv_cache)
    rank = found.tightest
    return logged, _taken(found, rank) - _loaded(rank)


def _per_cent(size: float, of: float) -> str:
    return f"{100 * size / of:.1f} %" if of > 0 else "more"
