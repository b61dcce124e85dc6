"""Errors of torch and transformers while generating, as ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tulu_cli.engines.base import first_line
from tulu_cli.errors import DoesNotFit, EngineError


@contextmanager
def translated() -> Iterator[None]:
    """Raises DoesNotFit where memory ran out, EngineError for any other failure inside."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise DoesNotFit(
            "Memory ran out while generating; a shorter context, a smaller dtype or quantization "
            f"needs less ({first_line(error)})."
        ) from error
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise EngineError(f"transformers failed while generating: {first_line(error)}.") from error
