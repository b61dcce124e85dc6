"""Translate between our values and vLLM's."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Done, Drafted, Request, Score, ScoreRequest, Text, TokenLogprob
from tulu_cli.engines.assemble import ChoiceAssembler, end_of
from tulu_cli.engines.base import adapter_named
from tulu_cli.models.adapter import Adapter
from tulu_cli.protocol.completions import read_finish
from tulu_cli.protocol.scores import with_likeliest

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest


def pairs(
    choices: list[ChoiceAssembler], outputs: list[Any], shared: bool
) -> Iterator[tuple[ChoiceAssembler, Any]]:
    """Yield each choice with its output; the one output of a greedy request belongs to all."""
    for piece in outputs:
        if shared:
            yield from ((choice, piece) for choice in choices)
        else:
            yield choices[piece.index], piece


def take(choice: ChoiceAssembler, piece: Any, top: int) -> Iterator[Text | Done]:
    """Yield the events of one output of vLLM; ignore what comes after the end of a choice."""
    if choice.finish is not None:
        return
    entries = piece.logprobs or [None] * len(piece.token_ids)
    for token, entry in zip(piece.token_ids, entries, strict=True):
        yield from choice.push(token, token_logprob(token, entry, top))
        if choice.finish is not None:
            break
    if piece.finish_reason is not None:
        yield from choice.close(end_of(read_finish(piece.finish_reason) or "stop"))
    if choice.finish is not None:
        yield choice.done()


def drafted_of(piece: Any) -> Drafted | None:
    """Return what was drafted for a choice, from its last output; None before, and for no draft."""
    found = piece.spec_decode_metrics
    if found is None:
        return None
    # How many checks have accepted none of the tokens, one of them, two and so on.
    accepted = sum(tokens * checks for tokens, checks in enumerate(found.histogram))
    return Drafted(found.num_draft_tokens, accepted)


def token_logprob(token: int, entry: Any, top: int) -> TokenLogprob | None:
    """Return the entry of one position, from vLLM's {token id: Logprob} with the chosen one."""
    if entry is None:
        return None
    best = sorted((value.rank, other) for other, value in entry.items() if value.rank <= top)
    return TokenLogprob(
        token, entry[token].logprob, tuple((other, entry[other].logprob) for _, other in best)
    )


def score_of(request: ScoreRequest, prompt_logprobs: list[Any]) -> Score:
    """Return the score from vLLM's tables of a prompt's positions."""
    tables = prompt_logprobs[request.context_tokens :]
    entries = []
    for token, table in zip(request.completion_token_ids, tables, strict=True):
        logprobs = {other: value.logprob for other, value in table.items()}
        entries.append(with_likeliest(token, logprobs, request.top))
    return Score(tuple(entries))


def lora_request(name: str | None, adapters: Sequence[Adapter]) -> "LoRARequest | None":
    """Return vLLM's request for the adapter of that name, None for None. Raise BadInput."""
    if adapter_named(name, [adapter.name for adapter in adapters]) is None:
        return None
    from vllm.lora.request import LoRARequest

    number, adapter = next(pair for pair in enumerate(adapters, 1) if pair[1].name == name)
    return LoRARequest(adapter.name, number, str(adapter.directory))


def scoring_params(top: int) -> "SamplingParams":
    """Return the parameters that make vLLM report a prompt's logprobs, with `top` alternatives.

    vLLM has to generate a token for that, and takes no part of such a prompt from its cache.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        prompt_logprobs=top,
        output_kind=RequestOutputKind.FINAL_ONLY,
        detokenize=False,
    )


def sampling_params(request: Request, watched: bool) -> "SamplingParams":
    """Return the request's sampling in vLLM's class; detokenizing is ours.

    An answer that is not `watched` comes whole at its end, which costs less.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling = request.sampling
    structure = None
    if sampling.constraint is not None:
        from tulu_cli.engines.guidance import arguments

        structure = StructuredOutputsParams(**arguments(sampling.constraint))
    return SamplingParams(
        n=1 if sampling.greedy else sampling.n,  # vLLM refuses to answer the same thing n times
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
        seed=None if sampling.greedy else sampling.seed,
        logprobs=sampling.logprobs,
        ignore_eos=sampling.ignore_eos,
        stop_token_ids=[] if sampling.ignore_eos else list(request.stop_token_ids),
        structured_outputs=structure,
        output_kind=RequestOutputKind.DELTA if watched else RequestOutputKind.FINAL_ONLY,
        detokenize=False,
    )
