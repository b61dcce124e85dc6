"""What the keys do: Enter sends, Alt-Enter and Ctrl-J make a line, Ctrl-G opens an editor."""

from collections.abc import Callable

from prompt_toolkit.filters import emacs_mode, has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from tulu_cli.chat.prompt_line.chips import Chips
from tulu_cli.chat.typed import in_open_block

Handler = Callable[[KeyPressEvent], None]


def key_bindings(chips: Chips) -> KeyBindings:
    """The bindings that go before prompt_toolkit's own, on the line but not in a search."""
    bindings = KeyBindings()
    on_line = has_focus("DEFAULT_BUFFER")

    def bind(*keys: Keys | str, emacs_only: bool = False) -> Callable[[Handler], Handler]:
        return bindings.add(*keys, filter=on_line & emacs_mode if emacs_only else on_line)

    @bind("enter")
    def send(event: KeyPressEvent) -> None:
        if in_open_block(chips.expand(event.current_buffer.text)):
            event.current_buffer.insert_text("\n")
        else:
            event.current_buffer.validate_and_handle()

    @bind("escape", "enter", emacs_only=True)
    @bind("c-j")
    def make_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bind(Keys.BracketedPaste)
    def paste(event: KeyPressEvent) -> None:
        # Terminals send a line end of a paste as the Enter key.
        pasted = event.data.replace("\r\n", "\n").replace("\r", "\n")
        event.current_buffer.insert_text(chips.fold(pasted))

    @bind("c-o")
    def unfold(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        buffer.save_to_undo_stack()
        buffer.document = chips.unfold(buffer.document)

    @bind("c-g")
    @bind("c-x", "c-e")
    def edit(event: KeyPressEvent) -> None:
        event.current_buffer.document = chips.unfold(event.current_buffer.document)
        event.current_buffer.open_in_editor()

    @bind("c-c")
    @bindings.add("<sigint>")
    def cancel(event: KeyPressEvent) -> None:
        if event.app.current_buffer.text:
            event.app.exit(result="", style="class:aborting")
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    return bindings
