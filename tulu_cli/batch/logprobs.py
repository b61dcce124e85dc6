"""`tulu batch --logprobs`: what a record says of the tokens of an answer."""

from itertools import accumulate
from typing import Any

from tulu_cli.core import Completion
from tulu_cli.prompt import Tokenizer
from tulu_cli.prompt.inspect.tokens import token_bytes
from tulu_cli.protocol.completions import wire_logprob
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
        return self._plain(choice) if is_plain else self._chat(choice)

    def _chat(self, choice: Completion) -> dict[str, Any]:
        return {
            "content": [
                {
                    **self._token(entry.token_id, entry.logprob),
                    "top_logprobs": [self._token(token, logprob) for token, logprob in entry.top],
                }
                for entry in choice.logprobs
            ]
        }

    def _token(self, token: int | str, logprob: float) -> dict[str, Any]:
        data = self._bytes(token)
        return {"token": _text(data), "logprob": wire_logprob(logprob), "bytes": list(data)}

    def _plain(self, choice: Completion) -> dict[str, Any]:
        tokens = [self._text(entry.token_id) for entry in choice.logprobs]
        return {
            "tokens": tokens,
            "token_logprobs": [wire_logprob(entry.logprob) for entry in choice.logprobs],
            "top_logprobs": [
                {self._text(token): wire_logprob(logprob) for token, logprob in entry.top}
                for entry in choice.logprobs
            ],
            "text_offset": [0, *accumulate(map(len, tokens))][: len(tokens)],
        }

    def _text(self, token: int | str) -> str:
        return _text(self._bytes(token))

    def _bytes(self, token: int | str) -> bytes:
        # A server that makes its own prompt tells no ids: a token is then its text.
        if isinstance(token, str) or self._tokenizer is None:
            return str(token).encode()
        return token_bytes(self._tokenizer, token)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
