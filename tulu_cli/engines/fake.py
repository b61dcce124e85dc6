r"""An engine without a model: it says back the prompt. For tests of what sits above.

It knows no structure, and says what it would have said where a thought of it is closed.

A line of the prompt can tell it to say something else, or to fail (see fake_script.py), and
`--engine-arg delay=SECONDS` is how long each token takes.

What the fake engine can be told to do, by a line of the prompt, the last one counting.

fake: say TEXT      the answer is TEXT, \n in it being a line end
fake: words N       the answer is N numbered words
fake: wait SECONDS  nothing happens for so long, then the answer is "waited"
fake: fail N        the first time it fails after N tokens, then N words and "recovered"
fake: die N         the same, but the engine is gone then

With an adapter, its name and a colon come before the answer.
"""

import math
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tulu_cli.core import (
    Completion,
    Done,
    EngineInfo,
    Request,
    Sampling,
    Score,
    ScoreRequest,
    Text,
    TokenLogprob,
)
from tulu_cli.engines.assemble import ChoiceAssembler, collect
from tulu_cli.engines.base import EngineSpec, adapter_named, bounded, check_fits_context
from tulu_cli.engines.thinking import ThoughtGuide, is_guided
from tulu_cli.errors import EngineDied, EngineError, TuluError
from tulu_cli.machine import Machine

_LINE = re.compile(r"fake: (say|words|wait|fail|die) ?(.*)")


@dataclass(frozen=True, slots=True)
class Directive:
    """A verb of a directive with its argument."""

    verb: str
    argument: str

    def text(self) -> str:
        """Return the text of the answer."""
        if self.verb == "say":
            return self.argument.replace("\\n", "\n")
        if self.verb == "wait":
            return "waited"
        words = [f"w{number}" for number in range(1, int(self.argument or 0) + 1)]
        return " ".join(words if self.verb == "words" else [*words, "recovered"])

    def prefill(self) -> Iterator[None]:
        """Wait for the first token, in steps between which a cancel can land."""
        if self.verb == "wait":
            end = time.monotonic() + float(self.argument)
            while time.monotonic() < end:
                time.sleep(0.005)
                yield

    def failure(self, tokens: int) -> EngineError | None:
        """Return the error that comes after so many tokens, or None."""
        if self.verb not in ("fail", "die") or tokens < int(self.argument or 0):
            return None
        if self.verb == "die":
            return EngineDied("The fake engine died, as it was told to.")
        return EngineError("The fake engine failed, as it was told to.")


def directive(prompt: str) -> Directive | None:
    """Return the last directive in a prompt's text, or None."""
    found = _LINE.findall(prompt)
    return Directive(*found[-1]) if found else None


# The prompts that a directive made fail once; a dead engine's too, which is loaded anew.
_failed: set[tuple[int, ...]] = set()


def why_not(_machine: Machine) -> str | None:
    """Return why this engine is never chosen by itself."""
    return "fake answers no question: it is for tests, by --engine fake"


def load(spec: EngineSpec) -> "FakeEngine":
    """Return an engine, for which no weights are loaded."""
    return FakeEngine(spec)


class FakeEngine:
    """Repeats the prompt's tokens from the first on, then ends as a model would."""

    def __init__(self, spec: EngineSpec) -> None:
        self._tokenizer = spec.tokenizer
        self._adapters = spec.adapters
        self._delay = float(spec.engine_args.get("delay", 0))
        self.info = EngineInfo(
            engine="fake",
            model=spec.name,
            revision=spec.revision,
            device="cpu",
            dtype="none",
            max_model_len=spec.max_model_len,
            versions={},
        )

    def stream(self, request: Request) -> Iterator[Text | Done]:
        """Yield the events of each choice in turn, a token at a time."""
        adapter_named(request.adapter, [adapter.name for adapter in self._adapters])
        request = bounded(request, self.info.max_model_len)
        for index in range(request.sampling.n):
            yield from self._choice(request, index)

    def batch(
        self, requests: Iterable[Request]
    ) -> Iterator[tuple[int, list[Completion] | TuluError]]:
        """Answer one request after the other."""
        for position, request in enumerate(requests):
            try:
                yield position, collect(self.stream(request))
            except TuluError as error:
                yield position, error

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Score | TuluError]]:
        """Score its own answer as certain; other tokens lower, the greater their ids."""
        for position, request in enumerate(requests):
            try:
                yield position, self._score(request)
            except TuluError as error:
                yield position, error

    def close(self) -> None:
        """Do nothing: no memory is held."""

    def _choice(self, request: Request, index: int) -> Iterator[Text | Done]:
        choice = ChoiceAssembler(request, self._tokenizer, index, time.perf_counter())
        unbound = replace(request, sampling=replace(request.sampling, constraint=None))
        guide = ThoughtGuide(unbound, self._tokenizer) if is_guided(unbound) else None
        wanted = request.sampling.logprobs
        for token in self._tokens(request):
            if token is None:
                yield Text("", index=index)
                continue
            if self._delay:  # to sleep for no time costs more than the rest of a token
                time.sleep(self._delay)
            top = tuple((token, 0.0) for _ in range(min(wanted or 0, 1)))
            logprob = None if wanted is None else TokenLogprob(token, 0.0, top)
            while guide is not None and guide.fed and choice.finish is None:
                choice.reasoning_truncated = guide.has_cut
                yield from choice.push(*guide.feed())
            if choice.finish is None:
                if guide is not None and not guide.is_over:
                    guide.take(token)
                yield from choice.push(token, logprob)
            if choice.finish is not None:
                break
        yield from choice.close("length")
        yield choice.done()

    def _score(self, request: ScoreRequest) -> Score:
        check_fits_context(request, self.info.max_model_len)
        end = self._tokenizer.eos_token_id
        context = request.token_ids[: request.context_tokens]
        own = Request(context, Sampling(), () if end is None else (end,), adapter=request.adapter)
        said = (token for token in self._tokens(own) if token is not None)
        entries = []
        for token in request.completion_token_ids:
            best = next(said, token)
            logprob = 0.0 if token == best else -math.log2(2 + token)
            entries.append(TokenLogprob(token, logprob, ((best, 0.0),)))
        return Score(tuple(entries))

    def _tokens(self, request: Request) -> Iterator[int | None]:
        """Yield the answer's tokens, or None while waiting. Raise what the prompt says."""
        ids = request.prompt_token_ids
        if request.adapter is not None:
            yield from self._tokenizer.encode_text(f"{request.adapter}: ")
        told = directive(self._tokenizer.decode(ids))
        if told is None:
            yield from script(request)
            return
        yield from told.prefill()
        for count, token in enumerate(self._tokenizer.encode_text(told.text())):
            error = None if ids in _failed else told.failure(count)
            if error is not None:
                _failed.add(ids)
                raise error
            yield token
        yield from request.stop_token_ids[:1]


def script(request: Request) -> Iterator[int]:
    """Yield the prompt's tokens without end tokens, then one; go on forever if that is ignored."""
    ends = request.stop_token_ids
    while True:
        yield from (token for token in request.prompt_token_ids if token not in ends)
        if ends and not request.sampling.ignore_eos:
            yield ends[0]
        if not request.prompt_token_ids:
            return
