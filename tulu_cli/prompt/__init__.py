"""Messages to text to token ids and back: the only place in the program where a prompt is made."""

from tulu_cli.disk import decode_utf8
from tulu_cli.prompt.chat import ChatEncoder, encode_chat, render_chat
from tulu_cli.prompt.compose import compose_user_text
from tulu_cli.prompt.detokenize import TextStream
from tulu_cli.prompt.inspect.formats import parse_messages
from tulu_cli.prompt.tokenizer import LateTokenizer, Tokenizer

__all__ = [
    "ChatEncoder",
    "LateTokenizer",
    "TextStream",
    "Tokenizer",
    "compose_user_text",
    "decode_utf8",
    "encode_chat",
    "parse_messages",
    "render_chat",
]
