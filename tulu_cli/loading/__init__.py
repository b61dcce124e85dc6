"""From a model's name to an engine that answers: in this process, warm, or a server.

prepared = prepare(options, machine, streams)          # which model, which engine, why
with open_engine(prepared, streams) as engine:         # its weights are here, and loaded
    engine.stream(request)
"""

from tulu_cli.loading.open import load_engine, open_engine, order, with_weights
from tulu_cli.loading.prepare import (
    ChatModel,
    LoadOptions,
    Prepared,
    TokenModel,
    prepare,
)

__all__ = [
    "ChatModel",
    "LoadOptions",
    "Prepared",
    "TokenModel",
    "load_engine",
    "open_engine",
    "order",
    "prepare",
    "with_weights",
]
