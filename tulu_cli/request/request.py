"""The one maker of requests: what is to be answered, by which model, and how, as a Request."""

from dataclasses import dataclass
from functools import partial

from tulu_cli.core import Conversation, Request, Sampling, TokenIds
from tulu_cli.engines.base import bounded
from tulu_cli.engines.remote.tokens import chat_ids, raw_ids
from tulu_cli.errors import UsageError
from tulu_cli.loading import ChatModel, Prepared, TokenModel
from tulu_cli.prompt import ChatEncoder, encode_chat
from tulu_cli.request.inputs import with_system


@dataclass(frozen=True, slots=True)
class RequestMaker:
    """Make the requests of a run, in the form that the model's engine takes.

    Token ids are made here, or, for `one_shot`, by the warm engine that has the tokenizer loaded; a
    chat has an `encoder`, which encodes only what is new in its conversation.
    A server that makes its own prompt is given the messages. `system` is the system prompt of the
    run, `system_is_asked` that it was given on the command line.
    """

    model: TokenModel | ChatModel
    system: str | None = None
    system_is_asked: bool = False
    allow_special: bool = False
    strict_roles: bool = False
    one_shot: bool = False
    encoder: ChatEncoder | None = None

    def conversation(self, messages: Conversation) -> Conversation:
        """Return the messages behind the system prompt that applies.

        Raise UsageError if both the messages and the command line have one.
        """
        return with_system(messages, self.system, asked=self.system_is_asked)

    def answer(
        self,
        messages: Conversation,
        sampling: Sampling,
        *,
        unchosen: frozenset[str] = frozenset(),
        continue_final: bool = False,
    ) -> Request:
        """Return the request for the answer to a conversation, as it is.

        With `continue_final` the answer goes on with the last message. `unchosen` names what a
        server that makes the prompt decides by its own defaults. Raise BadInput where the
        chat template refuses the conversation, UsageError for what the server cannot be asked.
        """
        if isinstance(self.model, ChatModel):
            if continue_final:
                raise UsageError("The server makes the prompt itself: it cannot go on with a text.")
            return Request(messages, sampling, unchosen=unchosen)
        ids = self.token_ids(messages, continue_final=continue_final)
        return Request(ids, sampling, self.model.end_token_ids)

    def completion(self, text: str, sampling: Sampling) -> Request:
        """Return the request for what follows a plain text, without a chat template.

        Raise UsageError where a server makes the prompt itself, of messages.
        """
        model = self._token_model()
        if self.one_shot:
            ids = raw_ids(model.spec, text)
        else:
            model.tokenizer.check_length(text, model.max_model_len)
            ids = model.tokenizer.encode_raw(text)
        return Request(ids, sampling, model.end_token_ids)

    def token_ids(
        self,
        messages: Conversation,
        *,
        continue_final: bool = False,
        generation_prompt: bool = True,
    ) -> TokenIds:
        """Return the token ids of a conversation's prompt.

        Raise BadInput where the chat template refuses it, UsageError where a server makes it.
        """
        model = self._token_model()
        if self.one_shot:
            return chat_ids(
                model.spec,
                messages,
                continue_final=continue_final,
                allow_special=self.allow_special,
                strict_roles=self.strict_roles,
            )
        encode = self.encoder or partial(
            encode_chat, model.tokenizer, max_model_len=model.max_model_len
        )
        return encode(
            messages,
            continue_final=continue_final,
            add_generation_prompt=generation_prompt,
            allow_special=self.allow_special,
            strict_roles=self.strict_roles,
        )

    def bounded(self, request: Request) -> Request:
        """Return the request with its limit of tokens decided by what the context leaves.

        Raise PromptTooLong where it leaves none. A server that does not tell its context length
        decides that itself.
        """
        return bounded(request, self.model.max_model_len)

    def _token_model(self) -> TokenModel:
        if isinstance(self.model, ChatModel):
            raise self.model.has_no_tokens()
        return self.model


def request_maker(
    prepared: Prepared,
    *,
    allow_special: bool = False,
    strict_roles: bool = False,
    one_shot: bool = False,
) -> RequestMaker:
    """Return the maker of requests for a prepared model, with the system prompt of its settings."""
    return RequestMaker(
        prepared.model,
        system=prepared.model.system_prompt(prepared.settings),
        system_is_asked=prepared.settings.is_flag("system"),
        allow_special=allow_special,
        strict_roles=strict_roles,
        one_shot=one_shot,
    )
