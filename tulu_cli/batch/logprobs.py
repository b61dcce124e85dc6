"""`tulu batch --logprobs`: what a record says of the tokens of an answer."""

from typing import Any

from tulu_cli.core import Completion
from tulu_cli.prompt import Tokenizer
from tulu_cli.prompt.inspect.tokens import token_bytes
from tulu_cli.protocol.logprobs import chat_logprobs, text_logprobs
from tulu_cli.render.jsonl import logprob_object


class LogprobForms:
    """Says it as `tulu complete --json` does, or as OpenAI does of chats and of completions."""

    def __init__(self, tokenizer: Tokenizer | None, *, openai: bool) -> None:
        self._tokenizer = tokenizer
        self._openai = openai

    def __call__(self, choice: Completion, *, is_plain: bool) -> Any:
        """Return the logprobs of a choice for JSON."""
        if not self._openai:
            token_text = self._tokenizer.token_text if self._tokenizer else str
            return [logprob_object(entry, token_text) for entry in choice.logprobs]
        form = text_logprobs if is_plain else chat_logprobs
        return form(choice.logprobs, self._bytes)

    def _bytes(self, token: int | str) -> bytes:
        # A server that makes its own prompt tells no ids: a token is then its text.
        if isinstance(token, str) or self._tokenizer is None:
            return str(token).encode()
        return token_bytes(self._tokenizer, token)
