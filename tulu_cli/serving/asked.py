"""What a body of OpenAI's routes asks of an engine, in our words."""

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tulu_cli.core import Request, Sampling, ThoughtFormat, TokenIds
from tulu_cli.engines.base import bounded
from tulu_cli.errors import ModelNotFound
from tulu_cli.prompt import Tokenizer, parse_messages
from tulu_cli.prompt.chat import OURS, Variables
from tulu_cli.prompt.thinking import is_read, thinking_prompt
from tulu_cli.protocol.completions import read_end_tokens, read_thoughts
from tulu_cli.protocol.fields import BadField, is_off, read_object, read_switch
from tulu_cli.protocol.sampling import HARMLESS, NAMES, read_chat_logprobs, read_sampling
from tulu_cli.text import listed

MOST_CHOICES = 1024  # of all prompts of a request together
# Beside the sampling parameters.
_FOR_ALL = {
    "model",
    "stream",
    "stream_options",
    "stop_token_ids",
    "return_token_ids",
    "return_tokens_as_token_ids",
}
_FOR_TEXTS = {"prompt", "thoughts", "context_tokens"}
_FOR_CHATS = {
    "messages",
    "top_logprobs",
    "chat_template_kwargs",
    "continue_final_message",
    "add_generation_prompt",
}


def unknown_fields(body: Mapping[str, Any], *, chat: bool) -> set[str]:
    """Return the names in a body that mean nothing to the route."""
    return body.keys() - NAMES - HARMLESS - _FOR_ALL - (_FOR_CHATS if chat else _FOR_TEXTS)


@dataclass(frozen=True, slots=True)
class Asked:
    """The requests of a body, one a prompt, each for `n` choices, and how to tell the answer.

    `echoed` are the prompts as texts, where the answer is to begin with them. Without `generates`
    it ends there. `with_ids` wants the token ids too, `as_ids` the logprobs by them.
    """

    requests: tuple[Request, ...]
    echoed: tuple[str, ...] | None = None
    generates: bool = True
    stream: bool = False
    with_usage: bool = False
    with_ids: bool = False
    as_ids: bool = False

    @property
    def sampling(self) -> Sampling:
        """The sampling parameters, which all requests share."""
        return self.requests[0].sampling


class BodyReader:
    """Reads bodies for the one model that is loaded, which has several `names`, and its adapters.

    A long text takes seconds to become ids: call `chat` and `completion` in a thread.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        adapters: Collection[str],
        tokenizer: Tokenizer,
        end_token_ids: TokenIds,
        max_model_len: int | None,
    ) -> None:
        self._names = names
        self._adapters = adapters
        self._tokenizer = tokenizer
        self._end_token_ids = end_token_ids
        self._max_model_len = max_model_len

    def adapter(self, body: Mapping[str, Any]) -> str | None:
        """Return the adapter that a body names as its model, None for the model itself.

        Raise ModelNotFound for a name that is neither.
        """
        if (asked := body.get("model")) is None or asked in self._names:
            return None
        if isinstance(asked, str) and asked in self._adapters:
            return asked
        beside = f", with the adapters {listed(list(self._adapters))}" if self._adapters else ""
        raise ModelNotFound(f"The model here is {self._names[0]!r}{beside}, not {asked!r}.")

    def chat(self, body: Mapping[str, Any]) -> Asked:
        """Return what a chat asks. Raise BadInput, or what its chat template raises."""
        adapter = self.adapter(body)
        own = {name: value for name, value in body.items() if name != "tools"}
        sampling = read_sampling({**own, "logprobs": read_chat_logprobs(body)})
        conversation = parse_messages(json.dumps(body.get("messages")).encode(), "messages")
        continues = read_switch(body, "continue_final_message")
        if continues and (not conversation or conversation[-1].role != "assistant"):
            raise BadField("continue_final_message", "needs a last message of the assistant's.")
        if not is_off(body.get("add_generation_prompt"), (not continues,)):
            raise BadField("add_generation_prompt", f"takes {str(not continues).lower()} here.")
        ids, thoughts = thinking_prompt(
            self._tokenizer,
            conversation,
            self._max_model_len,
            self._variables(body),
            tools=self._tools(body),
            continue_final=continues,
        )
        _check_limit(sampling, thoughts)
        seeded, ends = _seeded(sampling, body), self._ends(body)
        request = Request(ids, seeded, ends, thoughts=thoughts, adapter=adapter)
        return _told(Asked((request,)), body)

    def completion(self, body: Mapping[str, Any]) -> Asked:
        """Return what a completion of texts or token ids asks. Raise BadInput or PromptTooLong."""
        adapter = self.adapter(body)
        echo = read_switch(body, "echo")
        # OpenAI's way to ask for the logprobs of a given text alone.
        generates = not (echo and is_off(body.get("max_tokens", 1), (0,)))
        own = {**body, "echo": None, **({} if generates else {"max_tokens": None})}
        sampling = _seeded(read_sampling(own), body)
        prompts = read_prompts(body.get("prompt"))
        if len(prompts) * sampling.n > MOST_CHOICES:
            raise BadField("prompt", f"and n ask for more than {MOST_CHOICES:,} answers at once.")
        thoughts, ends = read_thoughts(body), self._ends(body)
        _check_limit(sampling, thoughts)
        asked = Asked(
            tuple(
                self._fitting(
                    Request(
                        self.token_ids(prompt), sampling, ends, thoughts=thoughts, adapter=adapter
                    )
                )
                for prompt in prompts
            ),
            echoed=tuple(map(self._text, prompts)) if echo else None,
            generates=generates,
        )
        if thoughts is not None and not read_switch(body, "stream"):
            raise BadField("thoughts", "are told from the answer in a stream alone.")
        return _told(asked, body)

    def token_ids(self, prompt: str | list[int]) -> TokenIds:
        """Return the token ids of one prompt. Raise BadField or PromptTooLong."""
        if isinstance(prompt, str):
            self._tokenizer.check_length(prompt, self._max_model_len)
            ids = self._tokenizer.encode_raw(prompt)
            if not ids:
                raise BadField("prompt", "is empty.")
            return ids
        if not all(0 <= token < self._tokenizer.vocab_size for token in prompt):
            raise BadField("prompt", "has a token id that is not in the vocabulary.")
        return tuple(prompt)

    def _fitting(self, request: Request) -> Request:
        """Return a request, before the next prompt is read. Raise PromptTooLong."""
        bounded(request, self._max_model_len)
        return request

    def _text(self, prompt: str | list[int]) -> str:
        if isinstance(prompt, str):
            return prompt
        return self._tokenizer.decode(prompt, skip_special_tokens=False)

    def _ends(self, body: Mapping[str, Any]) -> TokenIds:
        return read_end_tokens(body, self._end_token_ids)

    def _variables(self, body: Mapping[str, Any]) -> Variables:
        variables = read_object(body, "chat_template_kwargs")
        for name in variables:
            if name in OURS or not self._is_read(name):
                raise BadField(
                    "chat_template_kwargs",
                    f"names {name}, which the chat template of this model does not read.",
                )
        return variables

    def _tools(self, body: Mapping[str, Any]) -> list[Variables] | None:
        tools = body.get("tools")
        if is_off(tools, ([],)):
            return None
        if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
            raise BadField("tools", "must be a list of objects.")
        if body.get("tool_choice") == "none":
            return None
        if not self._is_read("tools"):
            raise BadField("tools", "would be lost: the chat template of this model reads none.")
        return tools

    def _is_read(self, name: str) -> bool:
        return is_read(name, self._tokenizer)


def read_prompts(told: Any) -> list[str | list[int]]:
    """Return the prompts of a completion, each a text or token ids. Raise BadField."""
    if isinstance(told, str) or _is_ids(told):
        return [told]
    if isinstance(told, list) and told and all(isinstance(o, str) or _is_ids(o) for o in told):
        return told
    raise BadField("prompt", "must be a text, a list of token ids, or a list of texts or of those.")


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _check_limit(sampling: Sampling, thoughts: ThoughtFormat | None) -> None:
    """Raise BadField for a limit of thoughts where none can be told from the answer."""
    if thoughts is None and sampling.max_reasoning_tokens is not None:
        raise BadField("max_reasoning_tokens", "is not supported here: no thoughts can be told.")


def _seeded(sampling: Sampling, body: Mapping[str, Any]) -> Sampling:
    """Return the sampling with a seed that is drawn where the client has none."""
    if body.get("seed") is not None:
        return sampling
    return replace(sampling, seed=secrets.randbelow(2**31))


def _told(asked: Asked, body: Mapping[str, Any]) -> Asked:
    """Return what is asked with how the answer is to be told. Raise BadField."""
    options = read_object(body, "stream_options")
    return replace(
        asked,
        stream=read_switch(body, "stream"),
        with_usage=read_switch(options, "include_usage", "stream_options."),
        with_ids=read_switch(body, "return_token_ids"),
        as_ids=read_switch(body, "return_tokens_as_token_ids"),
    )
