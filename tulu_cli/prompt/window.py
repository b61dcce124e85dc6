"""What fits in the context length."""

from tulu_cli.errors import PromptTooLong


def fit(prompt_tokens: int, max_tokens: int | None, max_model_len: int) -> int:
    """The number of tokens that may be generated: at most `max_tokens`, and what the context holds.

    Raises PromptTooLong where the prompt leaves no room for a single token.
    """
    room = max_model_len - prompt_tokens
    if room < 1:
        raise PromptTooLong(
            f"The prompt has {prompt_tokens:,} tokens and the context length is {max_model_len:,}: "
            f"it is over by {1 - room:,}, as the answer needs one. Shorten it, or raise "
            "--max-model-len where the model allows it."
        )
    return room if max_tokens is None else min(max_tokens, room)
