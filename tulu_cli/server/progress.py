"""How far a server has come in loading, read from what it prints."""

import re
from pathlib import Path

_TAIL = 32768
# What a server prints when a stage begins, and what the stage is. A later one wins.
_STAGES = (
    (re.compile(r"^tulu: stage (.+)$", re.MULTILINE), r"\1"),
    (re.compile(r"Initializing a V\d LLM engine"), "starting the worker"),
    (re.compile(r"Starting to load model"), "loading weights"),
    (re.compile(r"Dynamo bytecode transform|Compiling a graph"), "compiling"),
    (re.compile(r"Capturing CUDA graph"), "capturing CUDA graphs"),
    (re.compile(r"Starting vLLM server|Started server process"), "opening the socket"),
)
_SHARDS = re.compile(r"checkpoint shards:\s+\d+% Completed \| (\d+)/(\d+)")


def stage(log: Path) -> tuple[str, int, int]:
    """The stage that a log has come to, with the shards that are loaded, and how many there are."""
    try:
        text = log.read_bytes()[-_TAIL:].decode("utf-8", errors="replace")
    except OSError:
        text = ""
    name = "starting"
    place = -1
    for pattern, said in _STAGES:
        for match in pattern.finditer(text):
            if match.start() > place:
                place, name = match.start(), match.expand(said)
    shards = _SHARDS.findall(text)
    if name == "loading weights" and shards:
        done, total = shards[-1]
        return f"loading weights, {total} shards", int(done), int(total)
    return name, 0, 0
