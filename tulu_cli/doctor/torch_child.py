"""Print what torch sees, as one line of JSON: a script, for a process that may crash or hang."""

import json

import torch

print(  # noqa: T201  its only output
    json.dumps(
        {
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "hip": torch.version.hip,
            "available": torch.cuda.is_available(),
            "devices": torch.cuda.device_count(),
        }
    )
)
