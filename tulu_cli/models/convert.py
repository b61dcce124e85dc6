"""The child process that turns a GGUF file into a safetensors directory.

    python -m tulu_cli.models.convert [--leashed] SRC.gguf DST

Each line on stdout is a JSON object: {"stage", "done", "total"} while it works, and at most one
{"failure", "detail"} if it fails, where the failure is "file", "install", "model", "memory" or
"disk". It imports nothing of ours, so the parent may start it by its path. `--leashed` makes it
end as soon as its stdin does, which is when its parent is gone.
"""

import errno
import json
import os
import sys
import threading
from pathlib import Path
from typing import IO, Any

STEPS = 4


def main(arguments: list[str]) -> int:
    """Convert, reporting on stdout. Return 0, or 1 for a failure that was reported."""
    reports = _private_stdout()
    if "--leashed" in arguments:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    source, destination = (Path(word) for word in arguments if word != "--leashed")
    work = Conversion(source, destination, reports)
    try:
        work.run()
    except Exception as error:  # noqa: BLE001  the parent must hear of everything
        _write(reports, failure=_kind(error, work.step), detail=_one_line(error))
        return 1
    return 0


class Conversion:
    """The four steps of a conversion. `step` is the current one: it tells the kind of an error."""

    def __init__(self, source: Path, destination: Path, reports: IO[str]) -> None:
        self.source, self.destination, self.reports = source, destination, reports
        self.step = 0

    def run(self) -> None:
        """Take the steps. Raise whatever the libraries raise."""
        self._begin("Checking the GGUF file")
        self._check()
        self._begin("Starting PyTorch")
        import torch
        import transformers

        self._begin("Unpacking the weights")
        model, tokenizer = self._load(torch, transformers)
        self._begin("Saving as safetensors")
        model.save_pretrained(self.destination)
        tokenizer.save_pretrained(self.destination)
        _write(self.reports, stage="Saved", done=STEPS, total=STEPS)

    def _begin(self, stage: str) -> None:
        _write(self.reports, stage=stage, done=self.step, total=STEPS)
        self.step += 1

    def _check(self) -> None:
        from gguf import GGUFReader

        for tensor in GGUFReader(self.source).tensors:
            if tensor.data.nbytes != tensor.n_bytes:
                raise ValueError(f"the data of {tensor.name} is cut short")

    def _load(self, torch: Any, transformers: Any) -> tuple[Any, Any]:
        # bfloat16 is what the engines run in, and holds any 8-bit or smaller block exactly enough.
        folder, file = str(self.source.parent), self.source.name
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, dtype=torch.bfloat16, **_dequantize(transformers)
        )
        return model, transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)


def _dequantize(transformers: Any) -> dict[str, Any]:
    # Releases without GgufConfig always dequantize.
    config = getattr(transformers, "GgufConfig", None)
    return {"quantization_config": config(dequantize=True)} if config else {}


def _kind(error: Exception, step: int) -> str:
    if isinstance(error, ImportError):
        return "install"
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "memory"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or step == STEPS:
        return "disk"
    return "file" if step == 1 else "model"


def _private_stdout() -> IO[str]:
    """Keep stdout for the reports, and send what libraries print to stderr."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return private


def _end_with_stdin() -> None:
    # Not sys.stdin: its lock, held here for ever, would stop the interpreter from ending.
    while os.read(0, 1):
        pass
    os._exit(1)


def _write(reports: IO[str], **report: str | int) -> None:
    reports.write(json.dumps(report) + "\n")
    reports.flush()


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
