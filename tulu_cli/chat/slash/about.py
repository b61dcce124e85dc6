"""Slash commands that describe the chat, and leave it."""

from tulu_cli.chat.chat import Chat
from tulu_cli.chat.slash.row import find, rows, slash, write_line
from tulu_cli.errors import UsageError
from tulu_cli.prompt import Tokenizer
from tulu_cli.prompt.inspect.formats import Row
from tulu_cli.prompt.inspect.tokens import explain_row
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.render.talk import accepted_of
from tulu_cli.text import clip, one_line, plural

_KEYS = """
Enter sends. Alt-Enter or Ctrl-J makes a line; \"\"\" begins and ends a block.
Ctrl-G edits in $EDITOR, Ctrl-O shows a folded paste, Ctrl-R searches what was typed.
Ctrl-C stops an answer and keeps it; Ctrl-D leaves. //text sends /text.
"""
_NARROW, _NAMES = 60, 32  # columns


@slash(
    "help",
    "List the commands, or tell about one.",
    aliases=("h", "?"),
    arguments="[COMMAND]",
    words=lambda _chat, begun: [(r.name, r.about) for r in rows() if r.name.startswith(begun)],
)
def help_(chat: Chat, argument: str) -> None:
    """Write each command as it is typed, and what it does."""
    chosen = [find(argument.removeprefix("/"))] if argument else list(rows())
    narrow = chat.streams.size().columns < _NARROW
    for row in chosen:
        names = ", ".join([row.usage, *(f"/{alias}" for alias in row.aliases)])
        if narrow:
            chat.streams.write(f"{names}\n")
            write_line(chat, f"  {row.about}", "  ")
        else:
            write_line(chat, f"{names:<{_NAMES}} {row.about}", " " * (_NAMES + 1))
    if not argument:
        write_line(chat, _KEYS.rstrip("\n"))


@slash("exit", "Leave; the conversation is kept.", aliases=("quit", "bye", "q"))
def exit_(chat: Chat, _argument: str) -> None:
    """End the loop after this."""
    chat.leaving = True


@slash("clear", "Clear the screen; the conversation stays.")
def clear(chat: Chat, _argument: str) -> None:
    """Clear a terminal's screen, and leave what has scrolled away."""
    if chat.streams.stdout_tty:
        chat.streams.write_styled("\x1b[H\x1b[2J")


@slash("tokens", "Count the tokens of the conversation, turn by turn.")
def tokens(chat: Chat, _argument: str) -> None:
    """Write the exact count of each turn, with what the chat template adds."""
    model = chat.model.prepared.token_model()
    messages = chat.session.conversation()
    counted = own = _own_tokens(chat, model.tokenizer)
    if own:
        chat.streams.write(f"{own:>8,}  system: of the chat template's own\n")
    for place, message in enumerate(messages, 1):
        total = len(chat.requests.token_ids(messages[:place], generation_prompt=False))
        words = clip(one_line(message.content[:200]), 40)
        chat.streams.write(f"{total - counted:>8,}  {message.role}: {words}\n")
        counted = total
    chat.streams.write(f"{counted:>8,}  of {model.max_model_len:,} tokens\n")


def _own_tokens(chat: Chat, tokenizer: Tokenizer) -> int:
    """Return the tokens of the system turn that the chat template writes by itself, 0 for none."""
    first = chat.session.conversation()[:1]
    if not first:
        return 0
    writer = PromptWriter(tokenizer, add_generation_prompt=False, allow_special=chat.allow_special)
    turns = [token.turn for token in explain_row(tokenizer, writer, Row(first)).tokens]
    return sum(turn is not None and turn.index is None and turn.start == 0 for turn in turns)


@slash("stats", "Show what the last answer and the whole session took.")
def stats(chat: Chat, _argument: str) -> None:
    """Write the tokens, the time to the first one, and the speed after it."""
    if chat.last is None:
        raise UsageError("There is no answer yet.")
    usage, times = chat.last.usage, chat.last.timings
    counted = "tokens unknown"
    if usage is not None:
        counted = (
            f"{plural(usage.prompt_tokens, 'prompt token')}, of which {usage.cached_tokens:,} were "
            f"kept; {plural(usage.completion_tokens, 'token')}"
        )
        if usage.drafted is not None:
            counted += f", {accepted_of(usage.drafted)}"
    write_line(
        chat,
        f"last answer   {counted}, first after "
        f"{times.first_token:.2f} s, {chat.last.tokens_per_second:.1f} tokens/s",
        " " * 14,
    )
    records = [node.record for node in chat.session.nodes.values()]
    done = [record.done for record in records if record and record.done]
    total = sum(end.usage.completion_tokens for end in done if end.usage)
    seconds = sum(end.timings.total for end in done)
    counts = f"{plural(len(done), 'answer')}, {plural(total, 'token')}"
    write_line(chat, f"this session  {counts} in {seconds:.1f} s", " " * 14)
