"""One request of ours by an AsyncLLM: in this process, or in that of vLLM's own server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Done, Request, Text
from tulu_cli.engines.assemble import ChoiceAssembler
from tulu_cli.engines.base import check_bias
from tulu_cli.engines.guidance import grammar
from tulu_cli.engines.thinking import ContinuedChoice, is_guided
from tulu_cli.engines.vllm.values import drafted_of, pairs, sampling_params, take
from tulu_cli.prompt import Tokenizer

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM


async def generate(
    engine: "AsyncLLM",
    request: Request,
    tokenizer: Tokenizer,
    name: Callable[[], str],
    started: float,
    *,
    lora: "LoRARequest | None" = None,
    watched: bool = True,
) -> AsyncGenerator[Text | Done, None]:
    """Yield the events of a request; closing the generator aborts what still runs.

    `name` makes a request id that no other request has, `lora` is the request's adapter. A request
    that is not `watched` may come whole. Raise BadInput for a structure that is not valid, or a
    bias of a token that is not there.
    """
    check_bias(request.sampling, engine.vllm_config.model_config.get_vocab_size())
    guided = is_guided(request)

    def asked(one: Request) -> AsyncGenerator[Any, None]:
        prompt = {"prompt_token_ids": list(one.prompt_token_ids)}
        params = sampling_params(one, watched or guided)
        return engine.generate(prompt, params, name(), lora_request=lora)

    if guided:
        if request.sampling.constraint is not None:
            grammar(request.sampling.constraint)  # what is wrong with it is said before the thought
        made = [
            _continued(asked, ContinuedChoice(request, tokenizer, index, started), request)
            for index in range(request.sampling.n)
        ]
        async with aclosing(_together(made)) as events:
            async for event in events:
                yield event
        return
    choices = [
        ChoiceAssembler(request, tokenizer, index, started) for index in range(request.sampling.n)
    ]
    async with aclosing(asked(request)) as outputs:
        async for output in outputs:
            for choice, piece in pairs(choices, output.outputs, request.sampling.greedy):
                choice.cached_tokens = output.num_cached_tokens or choice.cached_tokens
                choice.drafted = drafted_of(piece)
                for event in take(choice, piece, request.sampling.logprobs or 0):
                    yield event
            if all(choice.finish for choice in choices):
                return


async def _continued(
    asked: Callable[[Request], AsyncGenerator[Any, None]],
    choice: ContinuedChoice,
    request: Request,
) -> AsyncGenerator[Text | Done, None]:
    """Yield the events of a choice for which vLLM is asked as often as needed.

    What it has computed for the last time is in its prefix cache.
    """
    while choice.finish is None:
        for text in choice.begin():
            yield text
        if choice.finish is not None:
            yield choice.done()
            return
        is_first = choice.asked.prompt == request.prompt
        async with aclosing(asked(choice.asked)) as outputs:
            async for output in outputs:
                if is_first:
                    choice.cached_tokens = output.num_cached_tokens or choice.cached_tokens
                for piece in output.outputs:
                    for event in take(choice, piece, request.sampling.logprobs or 0):
                        yield event
                if choice.is_stale or choice.finish is not None:
                    break


async def _together(
    streams: Sequence[AsyncGenerator[Text | Done, None]],
) -> AsyncGenerator[Text | Done, None]:
    """Yield the events of streams that run at the same time. Raise the first failure of one."""
    arrived: asyncio.Queue[Text | Done | Exception | None] = asyncio.Queue()

    async def forward(events: AsyncIterator[Text | Done]) -> None:
        try:
            async for event in events:
                arrived.put_nowait(event)
            arrived.put_nowait(None)
        except Exception as error:  # noqa: BLE001 (raised again by the consumer)
            arrived.put_nowait(error)

    tasks = [asyncio.create_task(forward(events)) for events in streams]
    try:
        running = len(tasks)
        while running:
            event = await arrived.get()
            if isinstance(event, Exception):
                raise event
            running -= event is None
            if event is not None:
                yield event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
