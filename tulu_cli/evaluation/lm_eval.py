"""A model of ours for lm-evaluation-harness, with its other tasks: `tulu-lm-eval`, or `TuluLM`.

lm-eval finds no models of other packages by itself. `tulu-lm-eval` takes the arguments of `lm_eval`
and knows one model more, `--model tulu`; in Python, `model_class()` is that model's class.
"""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from tulu_cli.core import Completion, Message, Sampling, Score, ScoreRequest, TokenIds
from tulu_cli.errors import TuluError, UsageError
from tulu_cli.loading import LoadOptions, open_engine, prepare, servers
from tulu_cli.prompt.chat import render_chat
from tulu_cli.prompt.score import encode_completion
from tulu_cli.request.request import request_maker
from tulu_cli.settings import read_settings
from tulu_cli.text import plural, told

if TYPE_CHECKING:
    from tulu_cli.prompt.tokenizer import Tokenizer

NAME = "tulu"
MOST_TOKENS = 256  # lm-eval's own default
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
_SETTINGS = (
    "engine",
    "dtype",
    "quantization",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "max_model_len",
    "device",
    "adapter",
    "keep_alive",
    "server",
    "api_key_env",
    "in_flight",
    "profile",
)
# What lm-eval gives every model, and an engine that is kept full has no use for.
_UNUSED = frozenset(("batch_size", "max_batch_size"))
_ANY_DEVICE = "cuda:0"  # lm-eval's default, whatever the machine has


class Instance(Protocol):
    """One request of lm-eval."""

    @property
    def args(self) -> tuple[Any, ...]: ...


class TuluLM:
    """What lm-eval asks of a model, answered by an engine of ours; without lm-eval's base class.

    `options` are settings by their names, as max_model_len, dtype or server, and the switches of
    `LoadOptions`, as no_server. Raise UsageError for others, and for a server that makes the prompt
    itself; else what `prepare` and `open_engine` raise.
    """

    def __init__(self, model: str | None = None, **options: Any) -> None:
        super().__init__()  # lm-eval's class, which stands behind this one
        from tulu_cli.machine import read_machine
        from tulu_cli.streams import Streams

        streams = Streams.standard()
        self._say = streams.say
        asked = load_options(model, options).without_draft()
        self._prepared = prepare(asked, read_machine(), streams)
        self._model = self._prepared.token_model()
        self._maker = request_maker(self._prepared)
        stack = ExitStack()
        self._engine = stack.enter_context(open_engine(self._prepared, streams, purpose="server"))
        self._end = weakref.finalize(self, stack.close)

    def close(self) -> None:
        """End the engine; the end of the program does too."""
        self._end()

    @property
    def _tokenizer(self) -> "Tokenizer":
        return self._model.tokenizer

    @property
    def max_length(self) -> int:
        """Return the context length in tokens."""
        return self._model.max_model_len

    @property
    def _longest(self) -> int:
        """Return how many tokens can be scored at once: engines keep one over to generate it."""
        return self.max_length - 1

    @property
    def tokenizer_name(self) -> str:
        """Return a name for what lm-eval keeps of this model's requests."""
        return self._model.name.replace("/", "__")

    def chat_template(self, _name: bool | str = False) -> str:
        """Return the Jinja source of the chat template; empty if there is none."""
        return self._tokenizer.chat_template or ""

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True
    ) -> str:
        """Return a conversation as the prompt's text; without a generation prompt it goes on.

        lm-eval has the text encoded as it stands: a message that spells out a control token becomes
        one, which `tulu batch` does not let happen.
        """
        messages = [Message(one["role"], one["content"]) for one in chat_history]
        return render_chat(
            self._tokenizer,
            messages,
            add_generation_prompt=add_generation_prompt,
            continue_final=not add_generation_prompt,
        )

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Return the text that follows each context, up to a stop string of its arguments."""
        asked, cut = [], 0
        for one in requests:
            context, given = one.args
            request = self._maker.completion(context, sampling(given))
            room = self.max_length - (request.sampling.max_tokens or MOST_TOKENS)
            if room < 1:
                raise UsageError(f"A context of {self.max_length:,} tokens has no room to answer.")
            cut += len(request.prompt_token_ids) > room
            ids = request.prompt_token_ids[-room:]
            asked.append(self._maker.request(ids, request.sampling))
        self._say_cut(cut)
        answers: list[list[Completion]] = _in_order(self._engine.batch(asked))
        return self._kept("generate_until", requests, [answer[0].text for answer in answers])

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Return how likely each continuation is, and whether greedy decoding would write it."""
        asked = [self._continuation(*one.args) for one in requests]
        self._say_cut(sum(len(one.token_ids) > self._longest for one in asked))
        scores: list[Score] = _in_order(self._scored(map(self._fitting, asked)))
        found = [(score.logprob, score.greedy) for score in scores]
        return self._kept("loglikelihood", requests, found)

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Return how likely each text is as a whole, in windows where it is longer than a context.

        The first token follows a BOS, or what stands for one.
        """
        windows = [
            list(rolling(self._prefix, self._without_prefix(one.args[0]), self._longest))
            for one in requests
        ]
        flat = (window for some in windows for window in some)
        scores: Iterator[Score] = iter(_in_order(self._scored(flat)))
        found = [sum(next(scores).logprob for _ in some) for some in windows]
        return self._kept("loglikelihood_rolling", requests, found)

    def _scored(self, requests: Iterable[ScoreRequest]) -> Iterator[tuple[int, Any]]:
        """Yield the scores of requests, by the adapter that answers too."""
        return self._engine.score(replace(one, adapter=self._model.adapter) for one in requests)

    @property
    def _prefix(self) -> int:
        """Return the token before a text that has nothing before it."""
        tokenizer = self._tokenizer
        for token in (tokenizer.bos_token_id, *self._model.end_token_ids):
            if token is not None:
                return token
        raise UsageError(f"{self._model.title} has no token that could stand before a text.")

    def _without_prefix(self, text: str) -> TokenIds:
        ids = self._tokenizer.encode_raw(text)
        return ids[1:] if ids[:1] == (self._prefix,) else ids

    def _continuation(self, context: str, continuation: str) -> ScoreRequest:
        """Return what scores a continuation, which lm-eval lets begin with the context's spaces."""
        head = context.rstrip()
        if not head:
            ids = self._without_prefix(context + continuation)
            return ScoreRequest((self._prefix, *ids), 1)
        return encode_completion(self._tokenizer, head, context[len(head) :] + continuation)

    def _fitting(self, asked: ScoreRequest) -> ScoreRequest:
        """Return the request without the beginning of a context that is too long, as lm-eval does.

        Raise UsageError for a continuation that alone is longer than a context.
        """
        over = len(asked.token_ids) - self._longest
        if over <= 0:
            return asked
        if over >= asked.context_tokens:
            count = len(asked.completion_token_ids)
            raise UsageError(
                f"A continuation has {count:,} tokens, and {self._longest:,} can be scored at once."
            )
        return ScoreRequest(asked.token_ids[over:], asked.context_tokens - over)

    def _say_cut(self, count: int) -> None:
        if count:
            self._say(f"tulu: {plural(count, 'context')} cut at the beginning, to fit")

    def _kept(self, name: str, requests: Sequence[Instance], found: list[Any]) -> list[Any]:
        """Return what was found, and let lm-eval's cache keep it."""
        hook = getattr(self, "cache_hook", None)
        for one, value in zip(requests, found, strict=True):
            if hook is not None:
                hook.add_partial(name, one.args, value)
        return found


def load_options(model: str | None, options: Mapping[str, Any]) -> LoadOptions:
    """Return where a model is to come from, by the arguments of lm-eval. Raise UsageError."""
    switches = tuple(one.name for one in fields(LoadOptions) if one.name != "settings")
    given = {name: value for name, value in options.items() if name not in _UNUSED}
    if unknown := next((name for name in given if name not in (*_SETTINGS, *switches)), None):
        known = ", ".join((*_SETTINGS, *switches))
        raise UsageError(f"--model_args: {unknown} is unknown: there are model, {known}.")
    flags = {name: given.get(name) for name in _SETTINGS}
    for name in ("adapter", "server"):
        if flags[name] is not None:
            flags[name] = [flags[name]]
    if flags["device"] == _ANY_DEVICE:
        flags["device"] = None
    settings = read_settings({"model": model, **flags})
    return LoadOptions(
        settings, **{name: _switch(name, given[name]) for name in switches if name in given}
    )


def _switch(name: str, value: Any) -> Any:
    """Return what a field of `LoadOptions` is to be. Raise UsageError for what it does not take."""
    if name == "server_wait":
        return servers.seconds(str(value), name)
    if name == "engine_args":
        if not isinstance(value, Mapping):
            raise UsageError(f"--model_args: {name} takes a dict, not {told(value)}.")
    elif value not in (True, False):
        raise UsageError(f"--model_args: {name} takes True or False, not {told(value)}.")
    return value


def sampling(given: Mapping[str, Any]) -> Sampling:
    """Return the sampling of a request of lm-eval: greedy, unless it asks to draw.

    Raise UsageError for an argument that is not known, since it would change the answers.
    """
    known = ("until", "do_sample", *_LENGTHS, *_SAMPLING)
    if unknown := next((name for name in given if name not in known), None):
        raise UsageError(f"generation_kwargs: {unknown} is unknown: there are {', '.join(known)}.")
    until = given.get("until") or []
    stop = (until,) if isinstance(until, str) else tuple(until)
    if not all(isinstance(text, str) for text in stop):
        raise UsageError(f"generation_kwargs: until must be texts, not {told(until)}.")
    length = next((given[name] for name in _LENGTHS if given.get(name) is not None), MOST_TOKENS)
    values = {name: given[name] for name in _SAMPLING if given.get(name) is not None}
    if given.get("do_sample") is False or not values.get("temperature"):
        values["temperature"] = 0.0
    return Sampling(**{"seed": 0, **values}, max_tokens=int(length), stop=tuple(filter(None, stop)))


def rolling(prefix: int, ids: TokenIds, most: int) -> Iterator[ScoreRequest]:
    """Yield windows of at most `most` tokens in which each of `ids` is scored once.

    The first one begins with the prefix; each other one sees one token before its own, and the last
    as many as fit.
    """
    whole, at = (prefix, *ids), 1
    while at < len(whole):
        end = min(at + most - 1, len(whole))
        start = max(0, end - most)
        yield ScoreRequest(whole[start:end], at - start)
        at = end


def _in_order(answers: Iterable[tuple[int, Any]]) -> list[Any]:
    """Return answers by their number. Raise the first error among them."""
    found = dict(answers)
    for answer in found.values():
        if isinstance(answer, TuluError):
            raise answer
    return [found[number] for number in sorted(found)]


@cache
def model_class() -> type:
    """Return the class of `--model tulu`, which lm-eval then knows. Raise TuluError without it."""
    try:
        from lm_eval.api.model import LM
        from lm_eval.api.registry import register_model
    except ImportError as error:
        from tulu_cli.machine import install

        raise TuluError(f"lm-eval is not installed: {install('lm-eval')}.") from error
    import lm_eval.models  # noqa: F401  (whose own models would not be known any more)

    made: type = register_model(NAME)(type(TuluLM.__name__, (TuluLM, LM), {}))
    return made


def main() -> int:
    """Run `lm_eval` with one model more; return its exit code."""
    import sys

    from tulu_cli.text import terminal_safe

    try:
        model_class()
        from lm_eval.__main__ import cli_evaluate

        cli_evaluate()
    except TuluError as error:
        sys.stderr.write(terminal_safe(f"tulu: {error}\n"))
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
