"""The picture of a session: what a terminal showed, and nothing that has to be fetched."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pyte
import pytest

from tools import record
from tools.drawing import drawn
from tools.record import PICTURE, SESSION, Step

CHARACTER_WIDTH = 12.2
SGR = "\x1b[1;33mbold\x1b[m \x1b[94mblue\x1b[m \x1b[38;2;1;2;3mown\x1b[m \x1b[4;7mboth\x1b[m"
FAKE = (
    Step('tulu complete -m demo --engine fake "Say <this> & that."'),
    Step("tulu chat -m demo --engine fake", ">", "token"),
    Step("Hello.", ">", "token"),
)


def shown(svg: str) -> str:
    """What a picture shows on its screen."""
    lines: dict[str, str] = {}
    for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if "clip-path" in text.attrib:  # the title has none
            column = round(float(text.attrib["x"]) / CHARACTER_WIDTH)
            line = lines.get(text.attrib["y"], "")
            lines[text.attrib["y"]] = line.ljust(column) + (text.text or "").replace("\xa0", " ")
    return "\n".join(line.rstrip() for line in lines.values()).rstrip()


def needs_the_net(svg: str) -> list[str]:
    """Whatever in a picture names something outside it."""
    outside = re.findall(
        r"""(?:href|src)=.*|url\((?!#).*|@import.*|<script.*|https?://[^\s"]+""", svg
    )
    return [found for found in outside if found != "http://www.w3.org/2000/svg"]


def test_a_session_is_played_and_drawn(demo_directory: Path) -> None:
    svg = drawn(record.record(FAKE))
    text = shown(svg)
    assert '$ tulu complete -m demo --engine fake "Say <this> & that."' in text
    assert text.count("Say <this> & that.") > 1, "the answer is there too"
    assert "> Hello." in text
    assert "/8,192 tokens" in text.splitlines()[-1], "the line below the prompt is the last"
    assert needs_the_net(svg) == []


def test_what_does_not_end_is_an_error_that_shows_the_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record, "_DEADLINE_SECONDS", 5)
    with pytest.raises(TimeoutError, match=r"(?s)'cat' does not end:.*\$ cat"):
        record.record((Step("cat"),))


def test_colours_and_styles_are_drawn() -> None:
    screen = pyte.Screen(40, 4)
    pyte.Stream(screen).feed(SGR)
    svg = drawn(screen, "a title")
    assert shown(svg) == "bold blue own both"
    assert ">a&#160;title<" in svg
    for style in ("fill: #e1bc70", "fill: #86c2fa", "fill: #010203", "font-weight: bold"):
        assert style in svg
    assert "text-decoration: underline" in svg


def test_the_picture_in_the_readme_is_a_recording_of_the_session() -> None:
    svg = PICTURE.read_text(encoding="utf-8")
    assert len(svg) < 150_000
    assert needs_the_net(svg) == []
    text = shown(svg)
    for step in SESSION:
        assert f" {step.line}\n" in text
    readme = (record.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({PICTURE.relative_to(record.ROOT)})" in readme
