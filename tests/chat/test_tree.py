"""The drawing of a conversation's tree."""

import pytest

from tests.chat.sessions import RECORD, answered, chat, done, empty, stamp
from tulu_cli.chat.session import Session
from tulu_cli.chat.tree import draw
from tulu_cli.text import cells

EXPECTED = """\
  ┌─ 10 user       Why not?
  │  11 assistant  So it is.
  1 user       Why is the sky blue?
  ├─ 2 assistant  Because it is.
  │  8 user       Says who?
  │  9 assistant  ␛[2J<U+202E>
  3 assistant  Sunlight is scattered by the air. [interrupted]
  4 user       And at night?
  ├─ 5 assistant  Black.
  ├─ 7 assistant  Dark, and full of stars. [continued]
* 6 assistant  Dark, [length]"""


@pytest.fixture
def session() -> Session:
    """Two first turns, retries, a branch, an interrupted answer, one that was continued."""
    one = answered(chat("Why is the\nsky blue?", "Because it is."), "")
    one = one.extend(one.head or "", "Sunlight is scattered by the air.", done("interrupted"))
    one = one.ask("And at night?", stamp())
    one = answered(answered(one, "Black."), "Dark,", "length")
    cut = one.head or ""
    one = one.resume(RECORD, stamp())
    one = one.extend(one.head or "", " and full of stars.", done())
    one = one.switch(one.numbered(2).id).ask("Says who?", stamp())
    one = answered(one, "\x1b[2J\u202e")
    one = answered(one.edit(one.numbered(1).id, "Why not?", stamp()), "So it is.")
    return one.switch(cut)


def test_the_way_to_the_head_goes_straight_down(session: Session) -> None:
    assert draw(session, 80) == EXPECTED.splitlines()


@pytest.mark.parametrize("width", [80, 40, 20, 10, 1])
def test_no_line_is_wider_than_the_terminal(session: Session, width: int) -> None:
    wide = answered(session.ask("天空はなぜ青いのですか" * 9, stamp()), "👩‍👩‍👧" * 99)
    assert all(cells(line) <= width for line in draw(wide, width))
    assert len(draw(wide, width)) == len(wide.nodes)


def test_a_tree_of_nothing_and_a_long_one() -> None:
    assert draw(empty(), 80) == []
    long = chat(*map(str, range(5000)))
    assert len(draw(long, 80)) == 5000


def test_after_an_undo_the_head_is_in_the_middle() -> None:
    lines = draw(chat("one", "1", "two", "2").undo(), 80)
    assert [line[0] for line in lines] == [" ", "*", " ", " "]
