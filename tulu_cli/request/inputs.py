"""What the user gives to be answered, arguments, files, stdin and conversations, as messages."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tulu_cli.core import Conversation, Message
from tulu_cli.disk import reading
from tulu_cli.errors import UsageError
from tulu_cli.prompt import compose_user_text, decode_utf8, parse_messages
from tulu_cli.streams import Streams
from tulu_cli.text import shown

_PYTHON = {"True": True, "False": False, "None": None}
# How long a command that has its prompt already waits for a first byte on a stdin that is open.
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line names: the prompt argument, files, and a conversation's file."""

    argument: str | None = None
    files: tuple[str, ...] = ()
    messages: str | None = None

    @property
    def dashes(self) -> int:
        """How many of them are `-`, which is stdin."""
        return (self.argument, self.messages, *self.files).count("-")

    @property
    def needs_stdin(self) -> bool:
        """Whether there is nothing to answer without stdin, so that waiting for it is right."""
        return bool(self.dashes) or (self.argument, self.messages, self.files) == (None, None, ())

    @property
    def may_use_stdin(self) -> bool:
        """Whether what is piped in belongs to the prompt, if something is."""
        return self.needs_stdin or self.messages is None


def check_given(given: Given, streams: Streams) -> None:
    """Raise UsageError if stdin would be read twice, or is a terminal that nobody named."""
    if given.dashes > 1:
        raise UsageError("stdin can be read only once: give one - and name the other inputs.")
    if given.needs_stdin and streams.stdin_tty and not given.dashes:
        raise UsageError("There is no prompt: give one as an argument, or pipe it in.")


def read_stdin(given: Given, streams: Streams, patience: float) -> bytes | None:
    """Return all of stdin if it is part of the prompt, or None if it is not or stays silent.

    An open stdin that nobody writes to (cron, ssh, a subprocess) is given `patience` seconds if
    the command can do without it.
    """
    if given.needs_stdin:
        return streams.read()
    if streams.stdin_tty or not given.may_use_stdin or not streams.stdin_ready(patience):
        return None
    return streams.read()


def stdin_is_idle(given: Given, streams: Streams, data: bytes | None) -> bool:
    """Return True if a stdin that could have been part of the prompt has said nothing yet."""
    return data is None and given.may_use_stdin and not streams.stdin_tty


def user_text(given: Given, data: bytes | None) -> str:
    """Return the text of the user's turn. Raise BadInput if it is not UTF-8, with the byte."""
    data = data or b""
    files = [_read_file(name, data) for name in given.files]
    if given.argument == "-":
        return compose_user_text(decode_utf8(data, "stdin"), None, files)
    argument = None if given.argument is None else well_formed(given.argument, "The prompt")
    piped = decode_utf8(data, "stdin") if data and not given.dashes else None
    return compose_user_text(argument, piped, files)


def conversation(given: Given, data: bytes | None, prefill: str | None = None) -> Conversation:
    """Return the messages to answer. Raise BadInput, or UsageError if there are none."""
    earlier = _read_messages(given.messages, data or b"")
    text = user_text(given, data)
    if not text and not earlier:
        raise empty_prompt()
    last = (Message("user", text),) if text else ()
    begun = () if prefill is None else (Message("assistant", well_formed(prefill, "--prefill")),)
    return (*earlier, *last, *begun)


def empty_prompt() -> UsageError:
    """Return the error for a command that was given nothing to answer."""
    return UsageError("The prompt is empty: give one as an argument, or pipe it in.")


def with_system(messages: Conversation, system: str | None, *, asked: bool) -> Conversation:
    """Return the messages behind a system prompt; a system message of their own replaces a default.

    Raise UsageError if they have one and `asked` says that the prompt is not a default.
    """
    if any(message.role == "system" for message in messages):
        if asked:
            raise UsageError("--system and a system message in --messages cannot be combined.")
        return messages
    if system is None:
        return messages
    return (Message("system", well_formed(system, "The system prompt")), *messages)


def read_variable(text: str) -> Any:
    """Return the value of a variable for the chat template, as it is typed.

    It is what it is as JSON, or True, False or None as in Python; any other one is a text.
    """
    try:
        return json.loads(text)
    except ValueError:
        return _PYTHON.get(text, text)


def well_formed(text: str, source: str) -> str:
    """Return a text of the command line or the environment. Raise BadInput if it is not UTF-8."""
    return decode_utf8(text.encode("utf-8", "surrogateescape"), source)


def _read_messages(source: str | None, data: bytes) -> Conversation:
    if source is None:
        return ()
    if source == "-":
        return parse_messages(data, "stdin")
    return parse_messages(_bytes_of(source), shown(source))


def _read_file(name: str, data: bytes) -> tuple[str, str]:
    """Return what a file is called in the prompt, and its text."""
    if name == "-":
        return "stdin", decode_utf8(data, "stdin")
    return name, decode_utf8(_bytes_of(name), shown(name))


def _bytes_of(name: str) -> bytes:
    with reading(shown(name)):
        return Path(name).read_bytes()
