"""Events for the tests, as an engine gives them."""

from tulu_cli.core import Done, EngineInfo, FinishReason, Text, Timings, TokenLogprob, Usage

INFO = EngineInfo("fake", "org/name", "abc", "cpu", "float32", 4096, {"torch": "2"})


def text(piece: str, *ids: int, index: int = 0, logprobs: tuple[TokenLogprob, ...] = ()) -> Text:
    return Text(piece, ids or (1,), index, logprobs)


def done(
    tokens: int = 2,
    *,
    index: int = 0,
    reason: FinishReason = "stop",
    cached: int = 0,
    timings: tuple[float, float, float] = (0.5, 1.0, 3.0),
) -> Done:
    usage = Usage(10, tokens, cached)
    return Done(reason, usage, Timings(*timings), 7 + index, stop=2, index=index)
