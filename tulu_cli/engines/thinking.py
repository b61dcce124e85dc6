"""Where a thought ends and the answer begins, token by token, for what is of one of them alone.

A structure binds the answer and not the thought before it, and a limit of tokens closes the thought
in the model's place. vLLM has both (`structured_outputs_config.reasoning_parser` and
`thinking_token_budget`), but only for the signs of the parser that a server was started with, which
would also leave a text without a thought unbound. Here it is the same for every engine and model:
one that samples step by step asks a `ThoughtGuide` in between, and any other one is asked again,
with the token ids that have come, where its request has to change (`ContinuedChoice`).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from tulu_cli.core import FinishReason, Request, Text, TokenLogprob
from tulu_cli.engines.assemble import ChoiceAssembler, signs_of
from tulu_cli.prompt import TextStream, Tokenizer
from tulu_cli.prompt.thinking import ThoughtStream

_LONGEST_CHARACTER = 4  # tokens, of a byte each


def is_guided(request: Request) -> bool:
    """Return True if what may be sampled depends on where the thought of an answer ends."""
    if request.thoughts is None:
        return False
    if request.sampling.constraint is not None:
        return not request.thoughts.is_closed  # behind a thought, the answer begins at once
    return request.sampling.max_reasoning_tokens is not None


class ThoughtGuide:
    """Follow one choice of a request that `is_guided`, up to where nothing is special any more.

    `fed` are tokens that come next without being sampled. Once `is_over`, and they have come, the
    answer is sampled, in its structure if it has one. `has_cut` says that the thought was closed
    here. Line ends after a thought are the model's own, and of no structure.
    """

    def __init__(self, request: Request, tokenizer: Tokenizer) -> None:
        assert request.thoughts is not None, "only a thought needs a guide"
        self.fed: deque[int] = deque()
        self.is_over = False
        self.has_cut = False
        self._thoughts = request.thoughts
        self._tokenizer = tokenizer
        self._signs = signs_of(request.thoughts, tokenizer)
        self._text = TextStream(tokenizer)
        self._stream = ThoughtStream(request.thoughts)
        self._binds = request.sampling.constraint is not None
        self._limit = request.sampling.max_reasoning_tokens
        self._tells_logprobs = request.sampling.logprobs is not None
        self._begun = ""  # of the sign that begins a thought
        self._tokens = 0  # of the thought, without its signs
        if request.thoughts.is_open and self._limit == 0:
            self._close()

    def take(self, token: int) -> bool:
        """Take a sampled token. Return False for one that must not be kept.

        That is the first of an answer with a structure, which was sampled without it.
        """
        if self._stream.channel == "thought":
            return self._take_thought(token)
        if not self._binds:
            self._stream.push(self._text_of(token))
            self.is_over = self._stream.is_over
            self._close_at_limit(is_whole=True)
            return True
        piece = self._tokenizer.decode([token], skip_special_tokens=False)
        if self._stream.has_ended:
            self.is_over = not piece or bool(piece.strip("\n"))
            return not self.is_over
        return self._take_first(piece)

    def feed(self) -> tuple[int, TokenLogprob | None]:
        """Return the next of the tokens that are fed. Where logprobs are told, it was certain."""
        token = self.fed.popleft()
        return token, TokenLogprob(token, 0.0) if self._tells_logprobs else None

    def _take_first(self, piece: str) -> bool:
        """Take what comes first where nothing has told yet whether it is a thought."""
        self._begun = (self._begun + piece).lstrip()
        start = self._thoughts.start
        if piece and not self._begun:
            return True
        if not piece or not (self._begun.startswith(start) or start.startswith(self._begun)):
            self.is_over = True
            return False
        # A sign of several tokens that has begun goes on: what was fed cannot be taken back.
        rest = start[len(self._begun) :]
        self.fed.extend(self._tokenizer.encode_text(rest) if rest else ())
        self._stream.push(self._begun + rest)
        self._close_at_limit(is_whole=True)
        return True

    def _take_thought(self, token: int) -> bool:
        text = self._text_of(token)
        _, answer = self._stream.push(text)
        if not self._stream.has_ended:
            self._tokens += 1
            self._close_at_limit(is_whole=bool(text))
            return True
        if not self._binds:
            self.is_over = True
        elif answer:  # one token has both: what it has of the thought is spelled alone
            self.is_over = True
            self.fed.extend(self._tokenizer.encode_text(text[: len(text) - len(answer)]))
            return False
        return True

    def _close_at_limit(self, *, is_whole: bool) -> None:
        """Close a thought that has all its tokens, and no character that has only begun."""
        if self._limit is None or self._stream.channel != "thought" or self._tokens < self._limit:
            return
        if is_whole or self._tokens >= self._limit + _LONGEST_CHARACTER:
            self._close()

    def _close(self) -> None:
        self.fed.extend(self._tokenizer.encode_text(self._thoughts.closing or self._thoughts.end))
        self.has_cut = self.is_over = True

    def _text_of(self, token: int) -> str:
        sign = self._signs.get(token)
        return self._text.push(token) if sign is None else self._text.finish() + sign


class ContinuedChoice(ChoiceAssembler):
    """A choice of a request that `is_guided`, for an engine that is asked as often as needed.

    First `begin`, then have `asked` sampled and `push` what comes; `is_stale` then says that it is
    to be asked again, and what still comes is ignored. All of it until `finish` is set.
    """

    def __init__(self, request: Request, tokenizer: Tokenizer, index: int, started: float) -> None:
        super().__init__(request, tokenizer, index, started)
        self.is_stale = False
        self._guide = ThoughtGuide(request, tokenizer)
        self._fed = list(request.prompt_token_ids)

    @property
    def asked(self) -> Request:
        """Return the request for the tokens from here on."""
        own = self._request.sampling
        sampling = replace(
            own,
            n=1,
            seed=own.seed + self.index,
            max_tokens=own.max_tokens and own.max_tokens - self._completion_tokens,
            max_reasoning_tokens=None,
            constraint=own.constraint if self._guide.is_over else None,
        )
        request, ids = self._request, tuple(self._fed)
        return Request(ids, sampling, request.stop_token_ids, adapter=request.adapter)

    def begin(self) -> Iterator[Text]:
        """Take what comes without being sampled; yield its text."""
        self.is_stale = False
        while self._guide.fed and self.finish is None:
            self.reasoning_truncated = self._guide.has_cut
            yield from self._keep(*self._guide.feed())

    def push(self, token_id: int, logprob: TokenLogprob | None = None) -> Iterator[Text]:
        """Take a sampled token, as `ChoiceAssembler.push` does."""
        if self.is_stale:
            return
        if not self._guide.is_over:
            is_kept = self._guide.take(token_id)
            self.is_stale = not is_kept or bool(self._guide.fed)
            if not is_kept:
                return
        yield from self._keep(token_id, logprob)

    def close(self, reason: FinishReason) -> Iterator[Text]:
        """End the choice, unless it was ended only because it is asked again."""
        if not self.is_stale:
            yield from super().close(reason)

    def _keep(self, token: int, logprob: TokenLogprob | None) -> Iterator[Text]:
        self._fed.append(token)
        yield from super().push(token, logprob)
