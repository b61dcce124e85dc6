"""The part of the suite that runs vLLM: a plugin of pytest, for `-p tests.vllm_part -m vllm`.

It collects only the files in which such tests stand, as each worker would take as long for all
others as for starting vLLM. Tests that share a loaded engine stay together; any other one goes to
the worker that is free.
"""

import re
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# A test runs vLLM by its own mark, or by a fixture that is one engine after another.
_RUNS_VLLM = re.compile(r"\bmark\.vllm\b|: Engine\b|\bloaded_engines\b")
_SHARING = (
    tuple(f"engines/test_{name}.py" for name in ("contract", "score", "remote", "drafts")),
    ("plan/test_vllm_groups.py",),
    ("plan/test_vllm_blocks.py",),
)


def may_run_vllm(path: Path) -> bool:
    """Whether tests of this file may have the mark, by its text."""
    return _RUNS_VLLM.search(path.read_text()) is not None


class _Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((files[0] for files in _SHARING if file.endswith(files)), nodeid)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.name.startswith("test_") and not may_run_vllm(collection_path):
        return True
    return None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _Scheduling(config, log)
