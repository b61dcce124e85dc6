"""The key bindings: Enter sends, Alt-Enter and Ctrl-J add a line, Ctrl-G opens an editor."""

from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.filters import emacs_mode, has_focus
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from tulu_cli.chat.line.chips import Chips
from tulu_cli.chat.line.plain import in_open_block


def key_bindings(chips: Chips) -> KeyBindings:
    """Return the bindings that go before prompt_toolkit's own, on the line but not in a search."""
    line = LineKeys(chips)
    on_line = has_focus("DEFAULT_BUFFER")
    bindings = KeyBindings()
    for keys, handler in (
        (["enter"], line.send),
        (["c-j"], line.make_line),
        (["tab"], line.complete),
        ([Keys.BracketedPaste], line.paste),
        (["c-o"], line.unfold),
        (["c-g"], line.edit),
        (["c-x", "c-e"], line.edit),
        (["c-c"], line.cancel),
        (["<sigint>"], line.cancel),
    ):
        bindings.add(*keys, filter=on_line)(handler)
    # In vi mode an Escape and then an Enter are two things.
    bindings.add("escape", "enter", filter=on_line & emacs_mode)(line.make_line)
    return bindings


class LineKeys:
    """Handle keys, each for the buffer in which it was pressed."""

    def __init__(self, chips: Chips) -> None:
        self._chips = chips

    def send(self, event: KeyPressEvent) -> None:
        """Accept the line; in an open block, insert a line end."""
        if in_open_block(self._chips.expand(event.current_buffer.text)):
            self.make_line(event)
        else:
            event.current_buffer.validate_and_handle()

    def make_line(self, event: KeyPressEvent) -> None:
        """Insert a line end."""
        event.current_buffer.insert_text("\n")

    def complete(self, event: KeyPressEvent) -> None:
        """Complete at once if there is one candidate, so that Enter then sends it whole."""
        buffer = event.current_buffer
        found = list(buffer.completer.get_completions(buffer.document, CompleteEvent()))
        if buffer.complete_state:
            buffer.complete_next()
        elif len(found) == 1:
            buffer.apply_completion(found[0])
        else:
            buffer.start_completion(insert_common_part=True)

    def paste(self, event: KeyPressEvent) -> None:
        """Insert a paste, folded if it is big. Terminals send its line ends as Enter."""
        pasted = event.data.replace("\r\n", "\n").replace("\r", "\n")
        event.current_buffer.insert_text(self._chips.fold(pasted))

    def unfold(self, event: KeyPressEvent) -> None:
        """Replace each chip with its paste."""
        event.current_buffer.save_to_undo_stack()
        event.current_buffer.document = self._chips.unfold(event.current_buffer.document)

    def edit(self, event: KeyPressEvent) -> None:
        """Open the whole text in the user's editor."""
        self.unfold(event)
        event.current_buffer.open_in_editor()

    def cancel(self, event: KeyPressEvent) -> None:
        """Give the line up; raise KeyboardInterrupt from the prompt if it is empty."""
        if event.app.current_buffer.text:
            event.app.exit(result="", style="class:aborting")
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")
