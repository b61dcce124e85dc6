"""What is read of vLLM's metrics."""

import pytest

from tulu_cli.protocol.metrics import read_waiting

HEAD = "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n"
ONE = 'vllm:num_requests_waiting{engine="0",model_name="a b"} 3.0\n'
OTHER = 'vllm:num_requests_waiting{engine="1",model_name="a b"} 4.0\n'
BY_REASON = 'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0\n'


@pytest.mark.parametrize(
    ("text", "waiting"),
    [
        (HEAD + ONE + BY_REASON, 3),
        (HEAD + ONE + OTHER, 7),
        ("vllm:num_requests_waiting 0\n", 0),
        ('vllm:num_requests_waiting{engine="0"} 5.0 1700000000000\n', 5),
        ('vllm:num_requests_waiting{model_name="a } b"} 6\n', 6),
        (HEAD + BY_REASON, None),
        ("vllm:num_requests_waiting{} much\n", None),
        ("vllm:num_requests_waiting{} nan\n", None),
        ("<html>vllm:num_requests_waiting</html>", None),
        ("", None),
    ],
)
def test_the_engines_are_added_up(text: str, waiting: int | None) -> None:
    assert read_waiting(text) == waiting
