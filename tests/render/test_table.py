"""Tables, bars and curves."""

from xml.etree import ElementTree as ET

import pytest

from tulu_cli.plan.curve import curves
from tulu_cli.render.columns import stacked_bar, table


def test_columns_are_aligned_and_no_line_ends_in_blanks() -> None:
    text = table([("name", "size"), ("a", "10"), ("longer", "9")], right=(1,))
    assert text == "name    size\na         10\nlonger     9\n"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("A", 50), ("B", 50)], "AAAAABBBBB"),
        ([("A", 50)], "AAAAA....."),
        ([("A", 99), ("B", 0), ("C", 1)], "AAAAAAAAAA"),
        ([("A", 1), ("B", 49)], "ABBBB....."),
        ([("A", 150)], "AAAAAAAAAA"),
        ([("A", -5), ("B", 50)], "BBBBB....."),
        ([("A", 10**15), ("B", 1)], "AAAAAAAAAA"),
    ],
)
def test_a_bar_has_its_width_and_each_part_shows(
    parts: list[tuple[str, int]], expected: str
) -> None:
    assert stacked_bar(parts, 100, 10) == expected


def test_a_curve_is_xml_whatever_its_names_are() -> None:
    text = curves({"<a&b>": [(256, 3.5), (512, 1.2)]}, title="<t>", across="&", up="'")
    root = ET.fromstring(text)
    assert len(root.findall(".//{http://www.w3.org/2000/svg}polyline")) == 1
    with pytest.raises(ValueError, match="nothing"):
        curves({}, title="", across="", up="")
