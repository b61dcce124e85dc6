"""What a server of vLLM says of itself for Prometheus, as far as we read it."""

METRICS_PATH = "/metrics"
_WAITING = "vllm:num_requests_waiting"  # vllm/v1/metrics/loggers.py, a line for each engine


def read_waiting(text: str) -> int | None:
    """Return how many requests wait for room in an engine, None where the text does not say."""
    found = []
    for line in text.splitlines():
        name, _, told = line.replace("{", " {", 1).partition(" ")
        if name == _WAITING:
            value, *_ = told.rpartition("}")[2].split() or [""]  # behind it may stand a time
            try:
                found.append(int(float(value)))
            except (ValueError, OverflowError):
                return None
    return sum(found) if found else None
