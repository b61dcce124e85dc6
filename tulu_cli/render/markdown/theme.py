"""What things look like: SGR parameters by name, and the few signs of our own."""

from dataclasses import dataclass, field

# Attributes speak without colour; colours are the sixteen of the user's own palette, which suit
# a light background as well as a dark one.
_ATTRIBUTES = {
    "heading1": "1;4",
    "heading2": "1",
    "heading3": "1;3",
    "strong": "1",
    "emphasis": "3",
    "strike": "9",
    "link": "4",
    "address": "2",
    "faint": "2",
    "bold": "1",
}
_COLORS = {
    "heading1": "1;4;35",
    "heading2": "1;35",
    "heading3": "35",
    "code": "36",
    "math": "36",
    "link": "4;34",
    "marker": "33",
    "keyword": "35",
    "string": "32",
    "comment": "90",
    "number": "36",
    "name": "34",
    "kind": "33",
    "inserted": "32",
    "deleted": "31",
}


@dataclass(frozen=True, eq=False)
class Theme:
    """SGR parameters by name, "" for none, and signs that the terminal's character set has.

    One is as good as itself, and so can be a key.
    """

    styles: dict[str, str] = field(default_factory=dict)
    bullets: tuple[str, ...] = ("•", "◦", "▪")
    bar: str = "│"
    rule: str = "─"

    def style(self, name: str) -> str:
        """The SGR parameters of a name."""
        return self.styles.get(name, "")


def theme(*, color: bool, utf8: bool) -> Theme:
    """The theme for a terminal: without colour what is bold stays bold."""
    styles = _ATTRIBUTES | _COLORS if color else _ATTRIBUTES
    if utf8:
        return Theme(styles)
    return Theme(styles, bullets=("-", "*", "+"), bar="|", rule="-")
