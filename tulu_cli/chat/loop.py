"""The loop of a chat: read, do, and survive whatever that raises."""

from tulu_cli.chat import slash
from tulu_cli.chat.chat import Chat
from tulu_cli.chat.line.plain import Command, Say, understand
from tulu_cli.chat.turn import send
from tulu_cli.errors import BadInput, ExitCode, TuluError
from tulu_cli.text import without_surrogates


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
    """Read a turn and act on it. Raise EOFError at the end, KeyboardInterrupt, and BadInput.

    A person is only told of input that cannot be read, and says it anew.
    """
    draft, chat.draft = chat.draft, ""
    try:
        text = chat.reader.read(draft)
    except BadInput as error:
        if not chat.is_watched:
            raise
        chat.say(f"tulu: {error}")
        return
    typed = meaning(chat, text)
    forget_interrupts(chat)  # one may have come just before the prompt took Ctrl-C over
    if typed is None or is_put_back(chat, text, typed):
        return
    try:
        do(chat, typed)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  the conversation outlives any of them
        chat.failure = chat.failure or exit_code(error)
        if chat.debug:
            from traceback import format_exception

            chat.streams.say("".join(format_exception(error)))
        chat.say(f"tulu: {sentence(error)}")


def is_put_back(chat: Chat, text: str, typed: Command | Say) -> bool:
    """Put a text that is not UTF-8 on the next prompt line, as it can be sent, and return True.

    Return False for any other text, and for a command that takes the name of a file.
    """
    sound = without_surrogates(text)
    if sound == text or (isinstance(typed, Command) and slash.takes_bytes(typed.name)):
        return False
    chat.draft = sound
    chat.say("tulu: some bytes were not UTF-8, and stand as \ufffd below: Enter takes the line so.")
    return True


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
    bug = f"This is a bug, {type(error).__name__}: {error}; --debug shows where."
    return f"{bug} The conversation goes on."


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    return error.exit_code if isinstance(error, TuluError) else ExitCode.FAILURE
