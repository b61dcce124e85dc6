"""Programs that stand for the converter, and what any of them left in the cache."""

from collections.abc import Callable

from tulu_cli.disk import cache_root

Install = Callable[[str], None]

SUCCEED = """
import os, sys
os.mkdir(sys.argv[3])
for name in ("config.json", "tokenizer.json", "model.safetensors"):
    open(os.path.join(sys.argv[3], name), "w").write("{}")
"""


def leftovers() -> list[str]:
    """All names in the cache but those of lock files."""
    converted = cache_root() / "converted"
    staging = list((converted / ".staging").glob("*"))
    return [path.name for path in [*converted.glob("[!.]*"), *staging]]
