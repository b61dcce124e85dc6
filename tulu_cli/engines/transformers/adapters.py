"""Adapters (LoRA) beside a model: loaded once by PEFT, and chosen anew for each forward pass."""

import warnings
from collections.abc import Sequence
from typing import Any

from tulu_cli.engines.base import adapter_named, first_line
from tulu_cli.errors import EngineError
from tulu_cli.models.adapter import Adapter

_BASE = "__base__"  # PEFT's word for a row of a mixed batch that has no adapter


class LoadedAdapters:
    """The adapters of `model`, in its dtype; `use` says which row of the next pass has which.

    Raise EngineError for one that cannot be loaded.
    """

    def __init__(self, model: Any, adapters: Sequence[Adapter] = ()) -> None:
        # A module's name, in which PEFT keeps the weights, may have no dot.
        self._names = {one.name: f"adapter_{number}" for number, one in enumerate(adapters)}
        self._model = model
        self._used: str | None = None
        self._mixed: list[str] | None = None
        for adapter in adapters:
            self._load(adapter)
        if adapters:
            from peft.tuners.lora import LoraLayer

            for module in model.modules():
                if isinstance(module, LoraLayer):
                    layer: Any = module
                    layer.register_forward_pre_hook(self._with_rows, with_kwargs=True)
            model.disable_adapters()

    def check(self, name: str | None) -> None:
        """Raise BadInput for an adapter that is not loaded."""
        adapter_named(name, tuple(self._names))

    def use(self, rows: Sequence[str | None]) -> None:
        """Let row i of the passes from now on have the adapter rows[i], None for none."""
        if not self._names:
            return
        several = len(set(rows)) > 1
        self._mixed = [self._names[name] if name else _BASE for name in rows] if several else None
        if several:
            self._switch(next(filter(None, rows)))
        else:
            self._switch(rows[0])

    def _switch(self, name: str | None) -> None:
        """Make one adapter the active one; where rows differ, any will do."""
        if name == self._used:
            return
        if name is None:
            self._model.disable_adapters()
        else:
            self._model.set_adapter(self._names[name])
            if self._used is None:
                self._model.enable_adapters()
        self._used = name

    def _with_rows(self, _module: Any, arguments: Any, named: dict[str, Any]) -> Any:
        if self._mixed is None:
            return None
        return arguments, {**named, "adapter_names": self._mixed}

    def _load(self, adapter: Adapter) -> None:
        import torch

        name = self._names[adapter.name]
        try:
            with warnings.catch_warnings():
                # That there are several is what is wanted.
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")
                report = self._model.load_adapter(
                    str(adapter.directory), adapter_name=name, use_safetensors=True
                )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise EngineError(
                f"transformers cannot load the adapter {adapter.name}: {first_line(error)}."
            ) from error
        # The weights of the other adapters are reported as missing too.
        missing = {key for key in report.missing_keys if f".{name}." in f"{key}."}
        if wrong := sorted(missing | report.unexpected_keys):
            raise EngineError(
                f"transformers cannot load the adapter {adapter.name}: {wrong[0]} is not in both "
                "it and the model."
            )
