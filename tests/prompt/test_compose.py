"""The user's turn out of an instruction, files and data."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_cli.prompt import compose_user_text

from .strategies import texts


def test_all_parts() -> None:
    text = compose_user_text("Compare.", "a\tb\r\n", [("x.md", "one\n"), ("d/y.py", "two")])
    assert text == ("Compare.\n\nx.md\n```\none\n```\n\nd/y.py\n```\ntwo\n```\n\na\tb\r\n")


@given(data=texts)
@settings(deadline=None)
def test_data_is_never_changed(data: str) -> None:
    assert compose_user_text(None, data, []) == data
    assert compose_user_text("", data, []) == data
    assert compose_user_text("Do.", data, []) == f"Do.\n\n{data}"
    assert compose_user_text("Do.", None, []) == "Do."


def test_files_without_an_instruction() -> None:
    assert compose_user_text(None, None, [("a", "x\n")]) == "a\n```\nx\n```"
    assert compose_user_text(None, "d", [("a", "")]) == "a\n```\n```\n\nd"


@given(text=st.text("`a\n", max_size=30))
@settings(deadline=None)
def test_file_cannot_close_its_own_fence(text: str) -> None:
    _, fence, *lines = compose_user_text(None, None, [("f", text)]).split("\n")
    assert lines[-1] == fence
    assert not any(fence in line for line in lines[:-1])
    assert "\n".join(lines[:-1]) == text.removesuffix("\n")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[0m", "a\u2028b"])
def test_file_name_stays_on_its_line(name: str) -> None:
    first = compose_user_text(None, None, [(name, "x")]).split("\n")[0]
    assert first.startswith("a\ufffd")
