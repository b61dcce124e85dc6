"""The family table against the model card."""

from tulu_cli.models import FAMILY, TULU_SYSTEM_PROMPT
from tulu_cli.models.family import DEMO


def test_the_system_prompt_is_the_cards() -> None:
    assert TULU_SYSTEM_PROMPT == (
        "You are Tulu 3, a helpful and harmless AI Assistant built by the Allen Institute for AI."
    )


def test_the_rows_agree_with_their_aliases() -> None:
    for row in FAMILY:
        if row.alias in ("demo", "3.1-8b"):
            continue
        size, _, stage = row.alias.upper().partition("-")
        suffix = f"-{stage}" if stage else ""
        assert row.repository == f"allenai/Llama-3.1-Tulu-3-{size}{suffix}"
        assert row.base == f"meta-llama/Llama-3.1-{size}"
        assert (row.size, row.stage) == (size, stage or "RLVR")


def test_aliases_are_unique() -> None:
    aliases = [row.alias for row in FAMILY]
    assert len(aliases) == len(set(aliases))


def test_the_demo_is_pinned() -> None:
    assert DEMO.requirement.count("==") == 1
    assert len(DEMO.wheel_sha256) == len(DEMO.gguf_sha256) == 64
