"""Conversation to prompt: the chat template's text and its token ids.

Control tokens come from the template alone. A message that holds the text of one is given to the
model as that text, unless the caller says `allow_special`. (Added tokens that a tokenizer does
not call special, as <think> often is, are ordinary vocabulary.)
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypedDict, Unpack

from tulu_cli.core import Message, TokenIds
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.prompt.builtin import choose_template
from tulu_cli.prompt.encode import encode_pieces
from tulu_cli.prompt.inspect.grammar import refuse_markers
from tulu_cli.prompt.limits import on_one_budget
from tulu_cli.prompt.render import may_cut, reads_parts, render_messages
from tulu_cli.prompt.spoofing import ROLES, ControlTexts, pieces_of, texts_in
from tulu_cli.prompt.tokenizer import Tokenizer
from tulu_cli.prompt.tracing import Origin, map_traced, plain, trace

Variables = Mapping[str, Any]
NOTHING: Variables = MappingProxyType({})
OURS = frozenset(("messages", "tools", "add_generation_prompt"))


class Vocabulary(Protocol):
    """Chat templates with their tokens: a `Tokenizer`, or `Templates` without one."""

    @property
    def chat_templates(self) -> Mapping[str, str]: ...
    @property
    def named_tokens(self) -> Mapping[str, str]: ...
    @property
    def control_texts(self) -> ControlTexts: ...


class ChatOptions(TypedDict, total=False):
    """How a conversation becomes a prompt.

    `continue_final` leaves the last message open for the model to go on with, and then there is
    no generation prompt. `template` is the name of one of the model's templates, or a Jinja
    source. `kwargs` are variables for the template, trusted as the template is; the documents
    among them are not. With `allow_special`, text in messages can become control tokens.
    With `strict_roles`, BadInput is raised for a message that holds what begins another one.
    """

    add_generation_prompt: bool
    continue_final: bool
    tools: Sequence[Variables] | None
    template: str | None
    kwargs: Variables
    allow_special: bool
    strict_roles: bool


def render_chat(
    vocabulary: Vocabulary, messages: Sequence[Message], **options: Unpack[ChatOptions]
) -> str:
    """Return the prompt as text. Raise BadInput, UsageError."""
    return "".join(chat_pieces(vocabulary, messages, **options))


def encode_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    max_model_len: int | None = None,
    **options: Unpack[ChatOptions],
) -> tuple[int, ...]:
    """Return the prompt as token ids. Raise BadInput, UsageError.

    Raise PromptTooLong where its length alone says that it cannot fit in `max_model_len` tokens.
    """
    pieces = chat_pieces(tokenizer, messages, **options)
    tokenizer.check_length("".join(pieces), max_model_len)
    if options.get("allow_special", False):
        return tokenizer.encode_text("".join(pieces))
    return encode_pieces(tokenizer, pieces)


class ChatEncoder:
    """Encode a conversation that grows: what was encoded the last time is not encoded again.

    The ids are those of `encode_chat`. A control token ends whatever the tokenizer merges, so a
    prompt that begins as the one before it is encoded from the last control token that both have.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._control = tokenizer.special_ids
        self._pieces: list[str] = []
        self._ids: TokenIds = ()

    def __call__(self, messages: Sequence[Message], **options: Unpack[ChatOptions]) -> TokenIds:
        """Return the prompt's token ids, for `ChatOptions`. Raise BadInput or UsageError."""
        if options.get("allow_special", False):
            return encode_chat(self._tokenizer, messages, **options)
        pieces = chat_pieces(self._tokenizer, messages, **options)
        kept, begun = self._common(pieces)
        rest = ["", *pieces[begun:]] if begun else pieces
        self._ids = kept + encode_pieces(self._tokenizer, rest)
        self._pieces = pieces
        return self._ids

    def _common(self, pieces: Sequence[str]) -> tuple[TokenIds, int]:
        """Return the ids that can be kept, and the piece, a control token, that follows them."""
        places = [place for place, token in enumerate(self._ids) if token in self._control]
        if len(places) != len(self._pieces) // 2:  # plain text has become such a token: <unk>
            return (), 0
        both = zip(self._pieces, pieces, strict=False)
        same = next((at for at, (old, new) in enumerate(both) if old != new), None)
        shared = min(len(self._pieces), len(pieces)) if same is None else same
        begun = (shared - 2) | 1 if shared >= 2 else 0  # the last odd one of those
        return (self._ids[: places[begun // 2]], begun) if begun > 0 else ((), 0)


@on_one_budget
def chat_pieces(
    vocabulary: Vocabulary, messages: Sequence[Message], **options: Unpack[ChatOptions]
) -> list[str]:
    """Return the prompt as plain texts with the template's control tokens between them."""
    text = chat_text(vocabulary, messages, **options)
    if options.get("allow_special", False):
        return vocabulary.control_texts.split(plain(text))
    return pieces_of(text, vocabulary.control_texts)


def chat_text(
    vocabulary: Vocabulary,
    messages: Sequence[Message],
    *,
    traces: bool = False,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
    tools: Sequence[Variables] | None = None,
    template: str | None = None,
    kwargs: Variables = NOTHING,
    allow_special: bool = False,
    strict_roles: bool = False,
) -> str:
    """Return the prompt as text.

    It has the traces of the conversation with `traces`, or where a control token may have come
    from the conversation unless that is allowed.
    """
    check(messages, kwargs)
    source = choose_template(vocabulary.chat_templates, template, with_tools=tools is not None)
    prompt = {"add_generation_prompt": add_generation_prompt and not continue_final}
    trusted = {**vocabulary.named_tokens, **kwargs, **prompt}
    if not reads_parts(source):
        messages = [
            message if message.extra.get("content") is None else message.as_text()
            for message in messages
        ]
    control = vocabulary.control_texts
    if strict_roles:
        refuse_markers(messages, source, trusted, control)
    data: dict[str, Any] = {
        "messages": [message.as_dict() for message in messages],
        "tools": tools and list(tools),
        "documents": kwargs.get("documents"),
    }
    if not traces and not allow_special:
        traces = control.may_arise_from(texts_of(messages, data), cut=may_cut(source))
    if traces:
        data = traced_data(data, lambda role: is_known_role(role, source, control))
    render = partial(render_messages, source, continue_final=continue_final, traces=traces)
    try:
        return render({**trusted, **data})
    except BadInput:
        texts = without_null(data["messages"])
        if texts == data["messages"]:
            raise
        return render({**trusted, **data, "messages": texts})


def texts_of(messages: Sequence[Message], data: Variables) -> list[str]:
    """Return the texts of a conversation, keys included, but for the usual roles."""
    texts = [message.content for message in messages]
    texts += [message.role for message in messages if message.role not in ROLES]
    others = [message.extra for message in messages if message.extra]
    return [*texts, *texts_in([one for one in (*others, data["tools"], data["documents"]) if one])]


def traced_data(data: Variables, is_known: Callable[[str], bool]) -> dict[str, Any]:
    """Return the messages, tools and documents with every text traced.

    The name of a role that the template knows counts as the template's.
    """

    def traced(number: int, key: str, value: Any) -> Any:
        known = key == "role" and isinstance(value, str) and is_known(value)
        return value if known else map_traced(value, Origin(number, key))

    messages = [
        {
            key if key in ("role", "content") else trace(key, Origin(at, key)): traced(
                at, key, value
            )
            for key, value in message.items()
        }
        for at, message in enumerate(data["messages"])
    ]
    others = {key: map_traced(data[key], Origin(None, key)) for key in ("tools", "documents")}
    return {"messages": messages, **others}


def is_known_role(role: str, source: str, control: ControlTexts) -> bool:
    """Return True if the template may build a control token of a role: `'<|' + role + '|>'`."""
    quoted = f"'{role}'" in source or f'"{role}"' in source
    return role in ROLES or (quoted and set(role).isdisjoint(control.marks))


def without_null(messages: Sequence[Variables]) -> list[Variables]:
    """Return the messages for a template that takes a text alone: no content is an empty one."""
    return [{**one, "content": ""} if one.get("content") is None else one for one in messages]


def check(messages: Sequence[Message], kwargs: Variables) -> None:
    """Raise where there is nothing to say, or a variable has a name that is taken."""
    if not messages:
        raise BadInput("The conversation is empty: give at least one message.")
    if not OURS.isdisjoint(kwargs):
        raise UsageError(f"A template variable cannot be named {min(OURS & kwargs.keys())}.")
