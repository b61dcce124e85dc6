"""A process that runs one engine over prompts: `python -m tests.engines.answer ENGINE DIRECTORY`.

The directories of adapters may follow, each named by its last part. Reads JSON lines
{"ids": [...], "max_tokens": N, "logprobs": K}, perhaps with an "adapter", on stdin, and writes for
each, in order, the token ids, the alternatives of every position, the text and what stopped it.
The engine answers them as a batch. Two engines never share a process.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tulu_cli.core import Request, Sampling
from tulu_cli.models.adapter import read_adapter

from .loading import END, load_engine


def main(name: str, directory: Path, *adapters: Path) -> None:
    """Answer each line greedily, in float32."""
    loaded = tuple(read_adapter(path, path.name) for path in adapters)
    engine = load_engine(name, directory, adapters=loaded)
    requests = [request_of(json.loads(line)) for line in sys.stdin]
    for _, answers in sorted(engine.batch(requests), key=lambda item: item[0]):
        assert isinstance(answers, list), answers
        (answer,) = answers
        tops = [dict(entry.top) for entry in answer.logprobs]
        told = {"ids": answer.token_ids, "tops": tops, "text": answer.text}
        print(json.dumps(told | {"stop": answer.done.stop}), flush=True)
    engine.close()


def request_of(asked: Mapping[str, Any]) -> Request:
    """A line as a request."""
    names = ("max_tokens", "logprobs", "ignore_eos")
    sampling = Sampling(temperature=0.0, **{name: asked[name] for name in names if name in asked})
    return Request(tuple(asked["ids"]), sampling, END, adapter=asked.get("adapter"))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
