"""The Hugging Face libraries are switched off while an engine loads, and back on afterwards."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import huggingface_hub.constants as constants
import pytest

from tulu_cli.engines.worker import hub_switched_off

from .loading import load_engine


@pytest.mark.parametrize("before", [None, "0", "1"])
def test_everything_is_as_it_was(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if before is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", before)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before == "1")
    seen = []
    with suppress(KeyError), hub_switched_off():
        seen += [os.environ["HF_HUB_OFFLINE"], constants.HF_HUB_OFFLINE]
        raise KeyError
    assert seen == ["1", True]
    assert os.environ.get("HF_HUB_OFFLINE") == before
    assert constants.HF_HUB_OFFLINE is (before == "1")


def test_a_library_that_is_imported_meanwhile_is_told_the_truth_afterwards() -> None:
    script = (
        "from tulu_cli.engines.worker import hub_switched_off\n"
        "with hub_switched_off():\n"
        "    import huggingface_hub.constants as constants\n"
        "    print(constants.HF_HUB_OFFLINE)\n"
        "print(constants.HF_HUB_OFFLINE)"
    )
    for told, expected in (({}, "True\nFalse\n"), ({"TRANSFORMERS_OFFLINE": "1"}, "True\nTrue\n")):
        kept = {name: text for name, text in os.environ.items() if not name.endswith("_OFFLINE")}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=kept | told, check=True, capture_output=True, text=True)
        assert done.stdout == expected


def test_another_model_can_be_fetched_after_one_was_loaded(
    demo_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    load_engine("transformers", demo_directory).close()
    assert "HF_HUB_OFFLINE" not in os.environ
    assert constants.HF_HUB_OFFLINE is False
