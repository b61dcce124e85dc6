"""The loop of a chat: read, do, and survive whatever that raises."""

from tulu_cli.chat import slash
from tulu_cli.chat.chat import Chat
from tulu_cli.chat.line.plain import Command, Say, understand
from tulu_cli.chat.turn import send
from tulu_cli.errors import ExitCode, TuluError


def converse(chat: Chat) -> int:
    """Chat until there is nothing more to read, and return the exit code.

    On a terminal that is 0. A script gets the code of the first error, or of a Ctrl-C, which ends
    it.
    """
    with chat.interrupts.held_back():
        while not chat.leaving:
            forget_interrupts(chat)
            try:
                step(chat)
            except EOFError:
                break
            except KeyboardInterrupt:
                if not chat.is_watched:
                    return ExitCode.INTERRUPTED
                chat.editing = None
                chat.say("Ctrl-D or /exit leaves; /help lists the commands.")
    return ExitCode.OK if chat.is_watched else chat.failure


def forget_interrupts(chat: Chat) -> None:
    """Ignore an earlier Ctrl-C on a terminal; a script ends at one whenever it came."""
    if chat.is_watched:
        chat.interrupts.forget()


def step(chat: Chat) -> None:
    """Read a turn and act on it. Raise EOFError at the end, KeyboardInterrupt, and BadInput."""
    draft, chat.draft = chat.draft, ""
    typed = meaning(chat, chat.reader.read(draft))
    forget_interrupts(chat)  # one may have come just before the prompt took Ctrl-C over
    if typed is None:
        return
    try:
        do(chat, typed)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  the conversation outlives any of them
        chat.failure = chat.failure or exit_code(error)
        chat.say(f"tulu: {sentence(error)}")


def meaning(chat: Chat, text: str) -> Command | Say | None:
    """Return what a turn means here; None if it is only white space.

    A text that only begins like a command, as a path does, is a text.
    """
    typed = understand(text)
    if isinstance(typed, Command) and not slash.is_meant(
        typed.name,
        typed.argument,
        several_lines="\n" in text.strip(),
        watched=chat.is_watched,
    ):
        return Say(text)
    return typed


def do(chat: Chat, typed: Command | Say) -> None:
    """Run a command, or send a text."""
    if isinstance(typed, Command):
        slash.run(chat, typed.name, typed.argument)
        return
    send(chat, typed.text)
    if chat.is_watched:
        chat.streams.write("\n")


def sentence(error: Exception) -> str:
    """Return a sentence that tells a user what went wrong."""
    if isinstance(error, TuluError):
        return str(error)
    if isinstance(error, MemoryError):
        return "Memory ran out; a shorter context or a smaller model needs less."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} {error.filename!r}." if error.filename else f"{error.strerror}."
    return f"This is a bug, {type(error).__name__}: {error}. The conversation goes on."


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    return error.exit_code if isinstance(error, TuluError) else ExitCode.FAILURE
