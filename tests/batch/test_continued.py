"""Rows whose answer goes on with the assistant's last message."""

import json
from pathlib import Path

from tests.program import tulu


def test_an_answer_goes_on_with_the_last_message(demo_directory: Path) -> None:
    begun = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "It is"}]
    rows = ({"messages": begun, "continue_final_message": True}, {"messages": begun[:1]})
    stdin = "".join(json.dumps(row) + "\n" for row in rows).encode()
    options = ("--engine", "fake", "-m", str(demo_directory), "--in-order", "-s", "none")
    done = tulu("batch", *options, "--no-server", stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    # The fake engine says the prompt back: nothing closes the answer that has begun.
    assert first["text"].endswith("assistant\nIt is")
    assert second["text"].endswith("assistant\n")
    assert "columns" not in first
