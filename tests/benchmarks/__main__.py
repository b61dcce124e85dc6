"""Run the benchmarks, all or those that are named, then print the table: `make bench`.

    python -m tests.benchmarks [NAME ...]

One that fails, or takes longer than its limit, costs the others nothing; the exit code says so.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from . import table
from .report import figures_path

# Minutes after which something hangs: some four times what each takes on two cores, in comments.
LIMITS = {
    "startup": 5,  # 1
    "plan": 3,  # 0.5
    "completion": 5,  # 1
    "template": 20,  # 5
    "template_sameness": 5,  # 1
    "pretty": 8,  # 1.5
    "chat": 10,  # 1
    "transformers_engine": 15,  # 3
    "vllm_engine": 60,  # 15
    "serve": 35,  # 8
    "batch": 60,  # 14
    "eval": 30,  # 5
    "adapters": 20,  # 4
    "batch_memory": 40,  # 3
    "batch_kill": 40,  # 8
    "history_kill": 20,  # 7
    "servers": 90,  # 25
}
GRACE_SECONDS = 30


def main(names: list[str]) -> int:
    """The exit code: 1 where a benchmark did not end well."""
    failed = [name for name in names if not ends_well(name)]
    if figures_path().exists():
        print()
        table.main(figures_path())
    for name in failed:
        print(f"The benchmark {name} failed: python -m tests.benchmarks.{name}", file=sys.stderr)
    return 1 if failed else 0


def ends_well(name: str) -> bool:
    """Whether a benchmark ran to its end. Nothing that it started outlives it."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.benchmarks.{name}"], start_new_session=True
    )
    try:
        code = process.wait(LIMITS[name] * 60)
    except subprocess.TimeoutExpired:
        code = -1
        process.terminate()  # a warm engine is stopped by the benchmark that has started it
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    return code == 0


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(LIMITS)
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(sorted(unknown))}: {', '.join(LIMITS)}.")
    sys.exit(main(sys.argv[1:] or list(LIMITS)))
