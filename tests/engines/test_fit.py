"""How many tokens may be generated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_cli.engines.base import fit
from tulu_cli.errors import PromptTooLong


def test_room() -> None:
    assert fit(100, None, 2048) == 1948
    assert fit(100, 50, 2048) == 50
    assert fit(2000, 50, 2048) == 48
    assert fit(2047, None, 2048) == 1


@pytest.mark.parametrize(("prompt", "over"), [(2048, 1), (2049, 2), (133_071, 131_024)])
def test_too_long_names_the_numbers(prompt: int, over: int) -> None:
    with pytest.raises(PromptTooLong, match=rf"{prompt:,} tokens .* 2,048: it is over by {over:,}"):
        fit(prompt, 16, 2048)


@given(st.integers(1, 9000), st.one_of(st.none(), st.integers(1, 9000)), st.integers(1, 9000))
def test_never_more_than_fits(prompt: int, most: int | None, length: int) -> None:
    try:
        count = fit(prompt, most, length)
    except PromptTooLong:
        assert prompt >= length
    else:
        assert 1 <= count <= (most or length)
        assert prompt + count <= length
