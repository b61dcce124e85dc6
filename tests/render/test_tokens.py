"""The table of a prompt's tokens."""

from tulu_cli.render.tokens import Cells, Look, token_table
from tulu_cli.text import cells

ROWS = [
    Cells("128000", "<|begin|>", b"<|begin|>", "system", True, False),
    Cells("13347", "汉\x1b[2J \n", "汉\x1b[2J \n".encode(), "user\x1b", False, True),
    Cells("7", "x", b"x", "user\x1b", False, None),
]


def test_a_table_fits_its_width_and_commands_nothing() -> None:
    lines = token_table(ROWS, Look(60, color=False)).splitlines()
    assert max(map(cells, lines)) <= 60
    assert lines[0].split() == ["#", "id", "text", "turn", "special", "learnt", "bytes"]
    assert lines[1].split()[:6] == ["0", "128000", "<|begin|>", "system", "special", "3c"]
    assert lines[1].endswith("…")
    assert lines[2].split()[:5] == ["1", "13347", "汉␛[2J·\\n", "user␛", "yes"]
    assert lines[3].split() == ["2", "7", "x", "user␛", "?", "78"]
    whole = token_table(ROWS, Look(100, color=False))
    assert "3c 7c 62 65 67 69 6e 7c 3e\n" in whole


def test_each_role_has_its_colour() -> None:
    text = token_table(ROWS, Look(100, color=True))
    assert "\x1b[1;36m<|begin|>\x1b[0m" in text
    assert "\x1b[32muser␛\x1b[0m" in text
    plain = text
    for code in ("1;36", "36", "32", "0"):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain == token_table(ROWS, Look(100, color=False))


def test_thoughts_have_a_column_where_there_are_any() -> None:
    rows = [*ROWS, Cells("9", "Hm", b"Hm", "assistant", False, True, thought=True)]
    lines = token_table(rows, Look(100, color=False)).splitlines()
    assert lines[0].split()[4:] == ["special", "thought", "learnt", "bytes"]
    assert lines[4].split() == ["3", "9", "Hm", "assistant", "thought", "yes", "48", "6d"]
    assert lines[2].split()[4:6] == ["yes", *lines[2].split()[5:6]]
