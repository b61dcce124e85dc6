"""A process that runs one engine over prompts: `python -m tests.engines.answer ENGINE DIRECTORY`.

Reads JSON lines {"ids": [...], "max_tokens": N, "logprobs": K} on stdin, writes for each the token
ids and the alternatives of every position. Two engines never share a process.
"""

import json
import sys
from pathlib import Path

from tulu_cli.core import Request, Sampling
from tulu_cli.engines.assemble import collect

from .loading import END, load_engine


def main(name: str, directory: Path) -> None:
    """Answer each line greedily, in float32."""
    engine = load_engine(name, directory)
    for line in sys.stdin:
        asked = json.loads(line)
        sampling = Sampling(
            temperature=0.0, max_tokens=asked["max_tokens"], logprobs=asked["logprobs"]
        )
        (answer,) = collect(engine.stream(Request(tuple(asked["ids"]), sampling, END)))
        tops = [dict(entry.top) for entry in answer.logprobs]
        print(json.dumps({"ids": answer.token_ids, "tops": tops}), flush=True)
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
