"""A big paste as one character on the line, shown as `[pasted 812 lines]`.

Being one character it moves, goes and comes back as a whole, and a paste of a megabyte costs the
line nothing. Ctrl-O puts the text itself in its place.
"""

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import fragment_list_to_text
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from tulu_cli.text import terminal_safe

# The last private-use plane: fonts with icons use the one below U+FFFF.
_FIRST = 0x100000
# A paste within both limits is shown as it is.
_LINES = 10
_CHARACTERS = 1000


class Chips:
    """Keep the pastes of this run, each under the character that stands for it."""

    def __init__(self) -> None:
        self._pastes: dict[str, str] = {}

    def fold(self, pasted: str) -> str:
        """Return what a paste puts on the line: itself, or the character that stands for it."""
        if pasted.count("\n") < _LINES and len(pasted) <= _CHARACTERS:
            return pasted
        chip = chr(_FIRST + len(self._pastes))
        self._pastes[chip] = pasted
        return chip

    def expand(self, text: str) -> str:
        """Return the text with every paste in its place; pastes are not expanded themselves."""
        if not any(character in self._pastes for character in text):
            return text
        return "".join(self._pastes.get(character, character) for character in text)

    def label(self, character: str) -> str | None:
        """Return the label of a character that stands for a paste, None for any other."""
        pasted = self._pastes.get(character)
        if pasted is None:
            return None
        lines = len(pasted.splitlines())
        amount = f"{lines:,} lines" if lines > 1 else f"{len(pasted):,} characters"
        return f"[pasted {amount}]"

    def unfold(self, document: Document) -> Document:
        """Return the document with its pastes in place, and the cursor where it was in the text."""
        before = self.expand(document.text_before_cursor)
        return Document(before + self.expand(document.text_after_cursor), len(before))


class ShowChips(Processor):
    """Show the label of each chip, and map columns of the text to columns of the screen.

    Bidirectional overrides get a label too; prompt_toolkit shows control characters but not these.
    """

    def __init__(self, chips: Chips) -> None:
        self._chips = chips

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """Return one line of the buffer as it is shown."""
        fragments = transformation_input.fragments
        text = fragment_list_to_text(fragments)
        if text.isascii() or not any(self._label(character) for character in text):
            return Transformation(fragments)
        shown: StyleAndTextTuples = []
        starts = [0]
        for style, piece, *_ in fragments:
            for character in piece:
                label = self._label(character)
                shown.append(("class:chip", label) if label else (style, character))
                starts.append(starts[-1] + len(label or character))

        def to_shown(column: int) -> int:
            return starts[min(column, len(starts) - 1)]

        def to_source(column: int) -> int:
            return next((i - 1 for i, start in enumerate(starts) if start > column), len(text))

        return Transformation(shown, to_shown, to_source)

    def _label(self, character: str) -> str | None:
        safe = terminal_safe(character)
        return self._chips.label(character) or (safe if safe.startswith("<U+") else None)
