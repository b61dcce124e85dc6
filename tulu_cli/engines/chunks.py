"""The chunks of an answer off the wire, as events: of tokens alone, or of text that is made."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tulu_cli.core import Done, Request, Text
from tulu_cli.engines.assemble import Choice, ChoiceAssembler, ToldChoice
from tulu_cli.server.dialect import cached_tokens, sampled_tokens

_Choice = TypeVar("_Choice", bound=Choice)


def read_answer(
    chunks: Iterable[Mapping[str, Any]],
    choices: list[_Choice],
    request: Request,
    take: Callable[[_Choice, Mapping[str, Any], int], Iterator[Text]],
) -> Iterator[Text | Done]:
    """The events that a server's chunks make. The ends come last, with what was cached."""
    top = request.sampling.logprobs or 0
    for chunk in chunks:
        if usage := chunk.get("usage"):
            for choice in choices:
                choice.cached_tokens = cached_tokens(usage)
        for told in chunk["choices"]:
            # Greedy choices are all the same: the server was asked for one.
            for choice in choices if request.sampling.greedy else [choices[told["index"]]]:
                if choice.finish is None:  # what comes after its end is ignored
                    yield from take(choice, told, top)
    for choice in choices:
        yield from choice.close("error")
        yield choice.done()


def take_tokens(choice: ChoiceAssembler, told: Mapping[str, Any], top: int) -> Iterator[Text]:
    """The text that the tokens of a piece make."""
    for token, logprob in sampled_tokens(told, top):
        yield from choice.push(token, logprob)
        if choice.finish is not None:
            return
    if (reason := told.get("finish_reason")) is not None:
        yield from choice.close("length" if reason == "length" else "stop")


def take_text(choice: ToldChoice, told: Mapping[str, Any], top: int) -> Iterator[Text]:
    """The text of a piece, as a process of ours has made it."""
    sampled = list(sampled_tokens(told, top))
    ids = tuple(token for token, _ in sampled)
    logprobs = tuple(logprob for _, logprob in sampled if logprob is not None)
    yield from choice.take(Text(told["text"], ids, choice.index, logprobs))
    if (reason := told.get("finish_reason")) is not None:
        choice.end(reason, told.get("stop_reason"))


def until_stopped(
    chunks: Iterable[Mapping[str, Any]], choices: list[ChoiceAssembler]
) -> Iterator[Mapping[str, Any]]:
    """The chunks until a stop string has ended every choice: the server would go on."""
    for chunk in chunks:
        yield chunk
        if all(isinstance(choice.stop, str) for choice in choices):
            return
