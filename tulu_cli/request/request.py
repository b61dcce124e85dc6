"""The one maker of requests: what is to be answered, by which model, and how, as a Request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tulu_cli.core import Conversation, Request, Sampling, ThoughtFormat, TokenIds
from tulu_cli.engines.base import bounded
from tulu_cli.engines.remote.tokens import chat_prompt, raw_ids
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.loading import ChatModel, Prepared, TokenModel
from tulu_cli.prompt import ChatEncoder, encode_chat
from tulu_cli.prompt.chat import NOTHING, Variables
from tulu_cli.prompt.thinking import no_thoughts, thoughts_after
from tulu_cli.request.inputs import with_system


@dataclass(frozen=True, slots=True)
class RequestMaker:
    """Make the requests of a run, in the form that the model's engine takes.

    Token ids are made here, or, for `one_shot`, by the warm engine that has the tokenizer loaded; a
    chat has an `encoder`, which encodes only what is new in its conversation.
    A server that makes its own prompt is given the messages. `system` is the system prompt of the
    run, `system_is_asked` that it was given on the command line. `variables` are those that the
    user gives the chat template.
    """

    model: TokenModel | ChatModel
    system: str | None = None
    system_is_asked: bool = False
    allow_special: bool = False
    strict_roles: bool = False
    one_shot: bool = False
    encoder: ChatEncoder | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

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
        variables: Mapping[str, Any] = NOTHING,
        tools: Sequence[Variables] | None = None,
    ) -> Request:
        """Return the request for the answer to a conversation, as it is.

        With `continue_final` the answer goes on with the last message. `unchosen` names what a
        server that makes the prompt decides by its own defaults. The `variables` and `tools` of the
        conversation go to the chat template, beside those of the run. Raise BadInput where the
        chat template refuses the conversation, UsageError for what the server cannot be asked.
        """
        model, told = self.model, {**self.variables, **variables}
        if isinstance(model, ChatModel):
            if continue_final:
                raise UsageError("The server makes the prompt itself: it cannot go on with a text.")
            if tools:
                raise BadInput("The server makes the prompt itself: a row cannot give it tools.")
            return Request(messages, sampling, unchosen=unchosen, variables=told)
        if self.one_shot:
            ids, thoughts = chat_prompt(
                model.spec,
                messages,
                told,
                continue_final=continue_final,
                allow_special=self.allow_special,
                strict_roles=self.strict_roles,
            )
            return self.request(ids, sampling, thoughts)
        ids = self.token_ids(
            messages, continue_final=continue_final, variables=variables, tools=tools
        )
        return self.request(
            ids, sampling, self.thoughts(messages, ids, continue_final=continue_final)
        )

    def thoughts(
        self, messages: Conversation, ids: TokenIds, *, continue_final: bool = False
    ) -> ThoughtFormat | None:
        """Return how a thought is told from the answer to the prompt that these ids are of.

        Raise UsageError for a model whose format of thoughts cannot be read.
        """
        begun = messages[-1].content if continue_final else ""
        return thoughts_after(self._token_model().tokenizer, ids, begun)

    def request(
        self, ids: TokenIds, sampling: Sampling, thoughts: ThoughtFormat | None = None
    ) -> Request:
        """Return the request for a prompt of token ids.

        Raise UsageError for sampling that vLLM does not do beside a draft.
        """
        model = self._token_model()
        check_drafting(model, sampling)
        return Request(ids, sampling, model.end_token_ids, thoughts=thoughts, adapter=model.adapter)

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
        return self.request(ids, sampling)

    def token_ids(
        self,
        messages: Conversation,
        *,
        continue_final: bool = False,
        generation_prompt: bool = True,
        variables: Mapping[str, Any] = NOTHING,
        tools: Sequence[Variables] | None = None,
    ) -> TokenIds:
        """Return the token ids of a conversation's prompt, made here.

        Raise BadInput where the chat template refuses it, UsageError where a server makes it.
        """
        model = self._token_model()
        encode = self.encoder or partial(
            encode_chat, model.tokenizer, max_model_len=model.max_model_len
        )
        return encode(
            messages,
            continue_final=continue_final,
            add_generation_prompt=generation_prompt,
            kwargs={**self.variables, **variables},
            tools=tools,
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


def check_drafting(model: TokenModel, sampling: Sampling) -> None:
    """Raise UsageError for sampling that vLLM refuses beside a draft, or does wrongly on a CPU.

    On a CPU temperature, top_k and top_p are lost there, as in vllm/utils/cpu_triton_utils.py of
    0.30 to 0.33 _expand_kernel_impl returns nothing for them (vLLM issue 55005).
    """
    if model.draft is None:
        return
    for name in ("min_p", "logit_bias"):
        if getattr(sampling, name):
            raise UsageError(
                f"vLLM takes no {name} where a draft is loaded, as {model.draft} is: leave it out, "
                "or give --draft none."
            )
    if model.drafts_on_cpu and not sampling.greedy:
        raise UsageError(
            f"vLLM loses the temperature on a CPU where a draft is loaded, as {model.draft} is: "
            "give --greedy, or --draft none."
        )


def check_limit(prepared: Prepared, request: Request) -> None:
    """Raise UsageError for a limit of the thought that was asked for where none can come."""
    asked = prepared.settings.is_flag("max_reasoning_tokens")
    if asked and isinstance(prepared.model, TokenModel) and request.thoughts is None:
        raise no_thoughts("--max-reasoning-tokens")


def request_maker(
    prepared: Prepared,
    *,
    allow_special: bool = False,
    strict_roles: bool = False,
    one_shot: bool = False,
    variables: Mapping[str, Any] = NOTHING,
) -> RequestMaker:
    """Return the maker of requests for a prepared model, with the system prompt of its settings."""
    return RequestMaker(
        prepared.model,
        system=prepared.model.system_prompt(prepared.settings),
        system_is_asked=prepared.settings.is_flag("system"),
        allow_special=allow_special,
        strict_roles=strict_roles,
        one_shot=one_shot,
        variables=variables,
    )
