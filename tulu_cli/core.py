"""The values that flow through the program. All are frozen; none knows how it is made or shown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard, cast

FinishReason = Literal["stop", "length", "interrupted", "error"]
Channel = Literal["answer", "thought"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `extra` holds what else a template may read (tool_calls).

    Where the content was given as null or as a list of text parts, it stands so in there too.
    `keys` are those of the message as it was written, if they are not role, content and the others
    in this order: a template that shows a message as JSON shows them. One without content beside
    tool calls has none here.
    """

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the message as the object that chat templates and OpenAI's API know."""
        known = {"role": self.role, "content": self.content}
        whole = {**known, **self.extra} if self.extra else known
        if not self.keys:
            return whole
        if "content" not in self.keys and not self.content:
            del whole["content"]
        return {**{key: whole[key] for key in self.keys if key in whole}, **whole}

    def as_text(self) -> "Message":
        """Return the message with its content as a text alone."""
        if "content" not in self.extra:
            return self
        extra = {key: value for key, value in self.extra.items() if key != "content"}
        return Message(self.role, self.content, extra, self.keys)


Conversation = tuple[Message, ...]
TokenIds = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Constraint:
    """The structure that an answer must have.

    `source` is a JSON schema's text, a regular expression, or the JSON array of the choices.
    """

    kind: Literal["json_schema", "regex", "choice"]
    source: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen and when to end, all decided: no value here is still unset.

    `max_tokens` None means up to the context length. `temperature` 0 is greedy. `top_k` 0,
    `top_p` 1, `min_p` 0 and `repetition_penalty` 1 are off. The other two penalties are OpenAI's,
    and look at the answer alone, which begins anew where a structure or a limit tells it from its
    thought. `logit_bias` is added to the logits of tokens, by their ids.
    `logprobs` is the number of alternatives reported a token; None reports none. Choice i of `n`
    draws with `seed` + i. After `max_reasoning_tokens` tokens a thought is closed, and the answer
    begins; None is no limit. The `constraint` binds the answer alone.
    """

    max_tokens: int | None = None
    max_reasoning_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    ignore_eos: bool = False
    constraint: Constraint | None = None

    @property
    def greedy(self) -> bool:
        """True where no random draw is made."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class ThoughtFormat:
    """The texts between which a model writes its thought, before the answer.

    `is_open` says that the prompt ends inside the thought: its beginning was written there.
    `is_closed` says that it ends behind one, as where the model is told not to think. `closing` is
    the end with the line ends around it, which closes a thought in the model's place.
    """

    start: str
    end: str
    is_open: bool = False
    is_closed: bool = False
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for an engine, and how to answer it.

    Engines of ours are given token ids and never see text; a server that makes its own prompt is
    given the conversation. `stop_token_ids` are the end tokens of the model, where its tokens are
    known; `sampling.ignore_eos` disarms them. `adapter` names one of those that the engine has
    loaded beside the model; None asks the model alone. `unchosen` names the parameters that nobody
    has set: a server that makes its own prompt has defaults of its own, which then apply.

    `thoughts` is how a thought is told from the answer, None for a model that writes none. A server
    that makes its own prompt knows that itself, and is given the `variables` of its chat template.
    """

    prompt: TokenIds | Conversation
    sampling: Sampling
    stop_token_ids: TokenIds = ()
    unchosen: frozenset[str] = frozenset()
    thoughts: ThoughtFormat | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None

    @property
    def prompt_token_ids(self) -> TokenIds:
        """Return the prompt's token ids. Raise TypeError if it is a conversation."""
        if is_conversation(self.prompt):
            raise TypeError("This prompt is a conversation: only a server can make tokens of it.")
        return cast(TokenIds, self.prompt)

    @property
    def conversation(self) -> Conversation:
        """Return the prompt's messages. Raise TypeError if it is token ids."""
        if not is_conversation(self.prompt):
            raise TypeError("This prompt is token ids: its messages are not known any more.")
        return self.prompt


def is_conversation(prompt: TokenIds | Conversation) -> TypeGuard[Conversation]:
    """Return True for messages; a prompt without any content is one of no token ids."""
    return bool(prompt) and isinstance(prompt[0], Message)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of a chosen token, and of the `top` alternatives, best first.

    A server that makes its own prompt tells no ids: a token is then its text.
    """

    token_id: int | str
    logprob: float
    top: tuple[tuple[int | str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A completion that is given, behind what it completes, as one row of token ids.

    The first `context_tokens` ids, at least one, are what it completes; the others are scored.
    `top` is the number of alternatives reported for each, at least one. `adapter` is as in a
    `Request`.
    """

    token_ids: tuple[int, ...]
    context_tokens: int
    top: int = 1
    adapter: str | None = None

    @property
    def completion_token_ids(self) -> tuple[int, ...]:
        """The tokens that are scored."""
        return self.token_ids[self.context_tokens :]


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a given completion is: each of its tokens after all those before it.

    The `top` of a token holds the likeliest tokens in its place, the best first.
    """

    tokens: tuple[TokenLogprob, ...]

    @property
    def logprob(self) -> float:
        """Natural-log probability of the completion: the sum over its tokens."""
        return math.fsum(token.logprob for token in self.tokens)

    @property
    def greedy(self) -> bool:
        """True where no token was less likely than another one in its place."""
        return all(token.logprob >= token.top[0][1] for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of choice `index`: whole characters, never a part of a stop string.

    `token_ids` are the tokens sampled since the last piece, the end token included, so that the
    pieces of a choice add up to all that the model generated; `text` may then be empty. The tokens
    that begin and end a thought are in the `channel` of the thought; their texts are in neither.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    index: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    channel: Channel = "answer"


@dataclass(frozen=True, slots=True)
class Drafted:
    """The tokens that a draft proposed, and those of them that the model accepted."""

    tokens: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; `cached_tokens` of the prompt were not computed again.

    The `reasoning_tokens` are those of the completion that were a thought. A server that makes its
    own prompt counts all choices together, in the first of them. `drafted` is None where nothing
    drafts, or where the engine does not tell it of this request.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    drafted: Drafted | None = None

    @classmethod
    def total(cls, choices: Iterable["Usage | None"]) -> "Usage | None":
        """Return the counts of a request: its prompt once, the completions of all choices.

        Return None if nobody has counted.
        """
        counted = [choice for choice in choices if choice is not None]
        if not counted:
            return None
        first, tokens = counted[0], sum(choice.completion_tokens for choice in counted)
        thoughts = sum(choice.reasoning_tokens for choice in counted)
        drafted = total_drafted(choice.drafted for choice in counted)
        return cls(first.prompt_tokens, tokens, first.cached_tokens, thoughts, drafted)


def total_drafted(parts: Iterable[Drafted | None]) -> Drafted | None:
    """Return the sum of what was drafted, None where one of the parts is not known."""
    known = list(parts)
    told = [part for part in known if part is not None]
    if not told or len(told) < len(known):
        return None
    return Drafted(sum(part.tokens for part in told), sum(part.accepted for part in told))


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds: waiting in the engine, from the request to the first token, and to the end.

    In a batch an engine may not watch each token: `first_token` is then the same as `total`.
    """

    queue: float
    first_token: float
    total: float


@dataclass(frozen=True, slots=True)
class Done:
    """The end of choice `index`. `stop` is the stop string or end token that ended it, if any.

    `usage` is None if a server that makes its own prompt has not counted the tokens, and `seed` if
    it takes none. `reasoning_truncated` says that the thought was closed by `max_reasoning_tokens`.
    """

    finish_reason: FinishReason
    usage: Usage | None
    timings: Timings
    seed: int | None
    stop: str | int | None = None
    index: int = 0
    reasoning_truncated: bool = False

    @property
    def tokens_per_second(self) -> float:
        """Return the decoding speed after the first token; 0 if no second one is known of."""
        seconds = self.timings.total - self.timings.first_token
        later = self.usage.completion_tokens - 1 if self.usage else 0
        return max(0, later) / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished choice, put together from its events.

    `text` is the answer alone, and `reasoning` the thought before it, None if there was none.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    done: Done
    reasoning: str | None = None

    @property
    def is_thought_alone(self) -> bool:
        """True where a thought came, and no answer after it."""
        return self.reasoning is not None and not self.text.strip()

    @classmethod
    def of(cls, pieces: Sequence[Text], done: Done) -> "Completion":
        """Put the pieces of a choice together."""
        thoughts = [piece.text for piece in pieces if piece.channel == "thought"]
        return cls(
            text="".join(piece.text for piece in pieces if piece.channel == "answer"),
            token_ids=tuple(token for piece in pieces for token in piece.token_ids),
            logprobs=tuple(entry for piece in pieces for entry in piece.logprobs),
            done=done,
            reasoning="".join(thoughts) if thoughts else None,
        )


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The engine and model that are running: enough to say later how an answer was made.

    `max_model_len` is the context length in tokens, None where a server does not tell it.
    """

    engine: str
    model: str
    revision: str | None
    device: str
    dtype: str
    max_model_len: int | None
    versions: Mapping[str, str]


def json_number(value: float) -> float | None:
    """Return a number for JSON, which has no infinity: the logprob of what cannot come is null."""
    return value if math.isfinite(value) else None
