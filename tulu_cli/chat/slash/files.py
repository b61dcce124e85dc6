"""Slash commands that attach something from outside to the next message."""

import os
import subprocess
from pathlib import Path

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.slash.arguments import path_words, paths_in
from tulu_cli.chat.slash.row import slash
from tulu_cli.disk import reading
from tulu_cli.errors import BadInput, UsageError
from tulu_cli.prompt import decode_utf8
from tulu_cli.text import plural

# More than any context holds, and little enough to be counted in a moment.
_MOST_BYTES = 16 * 2**20


@slash(
    "file",
    "Attach files to your next message; without PATH, drop what is attached.",
    arguments="[PATH ...]",
    words=lambda _chat, begun: path_words(begun),
    takes_bytes=True,
)
def file(chat: Chat, argument: str) -> None:
    """Attach all files, or none if one cannot be read."""
    if not argument:
        chat.attached = []
        chat.say("Nothing is attached.")
        return
    chat.attached = [*chat.attached, *[read(path) for path in paths_in(argument)]]
    say_attached(chat)


@slash(
    "shell",
    "Run a command, after asking, and attach its output.",
    aliases=("sh",),
    arguments="CMD",
    takes_bytes=True,
)
def shell(chat: Chat, argument: str) -> None:
    """Show the output, and attach it to the next message as a fenced block."""
    if not argument:
        raise UsageError("/shell takes a command.")
    if not chat.is_watched:
        raise UsageError("/shell asks before it runs a command, and there is nobody to ask.")
    if not chat.reader.confirm(f"Run {argument!r}?"):
        chat.say("Not run.")
        return
    output, code = output_of(chat, argument)
    chat.streams.write(output if output.endswith("\n") or not output else f"{output}\n")
    ended = "" if code == 0 else f" (exit code {code})"
    chat.attached = [*chat.attached, (f"$ {argument}{ended}", output)]
    say_attached(chat)


def read(path: str) -> tuple[str, str]:
    """Return a file's name and its text. Raise BadInput if it is not text or cannot be read."""
    place = Path(os.path.expanduser(path))
    with reading(repr(path)), place.open("rb") as opened:
        data = opened.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise BadInput(f"{path!r} has more than {_MOST_BYTES // 2**20} MiB: attach a part of it.")
    return path, decode_utf8(data, repr(path))


def output_of(chat: Chat, command: str) -> tuple[str, int]:
    """Return what a command prints to both streams, and its exit code."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    with chat.type_ahead.set_aside(), chat.interrupts.welcome():
        done = subprocess.run(
            [shell, "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.stdout[:_MOST_BYTES].decode("utf-8", "replace"), done.returncode


def say_attached(chat: Chat) -> None:
    """Say what is attached to the next message."""
    names = ", ".join(name for name, _ in chat.attached)
    size = plural(sum(len(text) for _, text in chat.attached), "character")
    if model := chat.model.tokens:
        ids = (model.tokenizer.encode_text(text) for _, text in chat.attached)
        size = plural(sum(map(len, ids)), "token")
    chat.say(f"With your next message: {names} ({size}).")
