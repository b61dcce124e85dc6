"""Slash commands about the answer: another one, more of it, and a copy of it."""

import re

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.clipboard import copy
from tulu_cli.chat.slash.arguments import choices, whole_number
from tulu_cli.chat.slash.row import slash
from tulu_cli.chat.turn import answer, go_on
from tulu_cli.errors import UsageError

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)


@slash("retry", "Answer the last turn again; each answer stays.", arguments="[N times]")
def retry(chat: Chat, argument: str) -> None:
    """Add one more answer, or N of them."""
    for _ in range(whole_number(argument, "/retry", least=1) if argument else 1):
        answer(chat)
        if chat.interrupts.pressed:
            return


@slash("continue", "Let the model go on where its last answer ends.")
def continue_(chat: Chat, _argument: str) -> None:
    """Continue by prefill, without another turn of the user."""
    go_on(chat)


@slash(
    "copy",
    "Copy the last answer, its last code block, or turn N.",
    arguments="[code|N]",
    words=choices(("code", "the last code block of the last answer")),
)
def copy_(chat: Chat, argument: str) -> None:
    """Copy to the system's clipboard, or to the terminal's."""
    text = wanted_text(chat, argument)
    how = copy(chat.streams, text)
    chat.say(f"Copied {len(text):,} characters {how}.")


def wanted_text(chat: Chat, argument: str) -> str:
    """Return the text that /copy means. Raise UsageError if there is none."""
    if argument and argument != "code":
        return chat.session.numbered(whole_number(argument, "/copy", least=1)).content
    answers = (node for node in reversed(chat.session.path()) if node.role == "assistant")
    last = next(answers, None)
    if last is None:
        raise UsageError("There is no answer to copy yet.")
    if not argument:
        return last.content
    code = last_code_block(last.content)
    if code is None:
        raise UsageError("The last answer has no code block.")
    return code


def last_code_block(text: str) -> str | None:
    """Return the inside of the last fenced code block, also of an open one; else None."""
    found, place = None, 0
    while opening := _FENCE.search(text, place):
        mark = opening[1]
        closing = re.compile(rf"^ {{0,3}}{mark[0]}{{{len(mark)},}} *$", re.MULTILINE)
        start = text.find("\n", opening.end()) + 1 or len(text)
        end = closing.search(text, start)
        found = text[start : end.start() if end else len(text)]
        if not end:
            break
        place = end.end()
    return found
