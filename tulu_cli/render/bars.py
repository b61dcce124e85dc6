"""A bar for each number, in eighths of a character where the terminal has them."""

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL, _PLAIN = "█", "#"
_SHORTEST = 4


def bar_chart(
    bars: Sequence[tuple[str, float, str]], most: float, width: int, *, utf8: bool
) -> list[str]:
    """One line for each label, value and note: the bar of the value `most` takes all the room.

    No line is longer than `width` but where labels and notes leave no room for a bar at all.
    """
    label_width = max(len(label) for label, _, _ in bars)
    note_width = max(len(note) for _, _, note in bars)
    room = max(width - label_width - note_width - 2, _SHORTEST)
    lines = []
    for label, value, note in bars:
        drawn = bar(value / most, room, utf8=utf8)
        lines.append(f"{label.ljust(label_width)} {drawn.ljust(room)} {note}".rstrip())
    return lines


def bar(share: float, room: int, *, utf8: bool) -> str:
    """A bar for a share of the room, from 0 to 1."""
    eighths = round(min(max(share, 0.0), 1.0) * room * 8)
    if not utf8:
        return _PLAIN * round(eighths / 8)
    full, part = divmod(eighths, 8)
    return _FULL * full + (_EIGHTHS[part] if part else "")
