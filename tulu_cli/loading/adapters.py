"""The adapters (LoRA) that a command names: found, fetched, and checked against their model."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tulu_cli.disk import read_json
from tulu_cli.errors import BadInput, ModelNotFound, NoEngine, UsageError
from tulu_cli.machine import install
from tulu_cli.models import ModelFiles, Progress, locate
from tulu_cli.models.adapter import (
    NONE,
    Adapter,
    check_base,
    check_name,
    locate_adapter,
    named,
    read_adapter,
)
from tulu_cli.models.headers import directory_headers
from tulu_cli.models.reference import IsAdapter, resolve
from tulu_cli.prompt.builtin import read_chat_templates
from tulu_cli.settings import Setting, Settings
from tulu_cli.text import listed, one_line
from tulu_cli.warm.finder import warm_engines

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.warm.endpoint import Endpoint


def with_base(settings: Settings, found: IsAdapter, say: Callable[[str], None]) -> Settings:
    """Return the settings with an adapter that was named as the model beside its base; say so.

    Raise IsAdapter itself where it does not say what its base is.
    """
    if found.base is None:
        raise found
    say(f"tulu: {found.name} is an adapter of {one_line(found.base)}, which it is loaded with.")
    adapters = [found.name, *settings.get("adapter", [])]
    values = {
        "model": Setting(found.base, "adapter"),
        "adapter": Setting(adapters, settings.values["model"].origin),
    }
    return replace(settings, values={**settings.values, **values})


def base_of(
    settings: Settings, *, offline: bool, progress: Progress, say: Callable[[str], None]
) -> str | None:
    """Return the base of the first adapter where no model is named, and say so.

    Return None without an adapter, or for one that only a warm engine knows by its name. Raise
    ModelNotFound for one that does not exist, or does not say what its base is.
    """
    for text in settings.get("adapter", [])[:1]:
        _, place = named(settings.aliases.get(text, text))
        try:
            locate(resolve(place), offline=offline, weights=False, progress=progress)
        except IsAdapter as found:
            if found.base is None:
                raise
            say(f"tulu: {found.name} is an adapter of {one_line(found.base)}, which is loaded.")
            return found.base
        except ModelNotFound:
            if "/" in place:
                raise
    return None


def chosen_adapters(settings: Settings) -> Settings:
    """Return the settings with the adapters that are to be loaded: NONE alone stands for none.

    Raise UsageError for NONE beside others.
    """
    asked = settings.get("adapter", [])
    if NONE not in asked:
        return settings
    if len(asked) > 1:
        raise UsageError(f"--adapter {NONE} is for no adapter at all: leave the others out.")
    return settings.without("adapter")


def find_adapters(
    settings: Settings,
    files: ModelFiles,
    *,
    offline: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> tuple[Adapter, ...]:
    """Return the adapters of the settings, fetched if need be; the first is the one that answers.

    Raise ModelNotFound for one that does not exist, BadInput for one that cannot be used, and
    UsageError for one that is for another model, or a name that two of them have or the model.
    """
    made: list[Adapter] = []
    for text in settings.get("adapter", []):
        name, place = named(settings.aliases.get(text, text))
        directory = None if os.path.isdir(place) else _held_warm(place, files)
        if directory is None:
            directory = locate_adapter(place, offline=offline, progress=progress)
        adapter = read_adapter(directory, name)
        check_name(adapter, place, made, (files.ref.name, files.ref.repo))
        made.append(adapter)
    check_adapters(made, files)
    for adapter in made:
        _check_prompt(adapter, files)
        if adapter.base is not None and not _is_base(adapter.base, files):
            say(
                f"tulu: the adapter {adapter.name} was made for {one_line(adapter.base)}; it is "
                f"applied to {files.ref.name}."
            )
    return tuple(made)


def check_adapters(adapters: Sequence[Adapter], files: ModelFiles) -> None:
    """Raise UsageError for one of another model, as far as the weights of the model are here."""
    if adapters:
        headers = directory_headers(files.directory)
        for adapter in adapters:
            check_base(adapter, files.ref.name, headers)


def check_library(adapters: Sequence[Adapter], engine: str, machine: "Machine") -> None:
    """Raise NoEngine where transformers is to load adapters and PEFT is not installed."""
    if adapters and engine == "transformers" and "peft" not in machine.packages:
        raise NoEngine(f"transformers loads adapters with PEFT: {install('lora')}.")


def adapter_of_server(
    settings: Settings, endpoint: "Endpoint", say: Callable[[str], None]
) -> str | None:
    """Return the adapter that a server is to answer with, None for none.

    Raise UsageError for one that the server does not have, if a flag names it; else it is said.
    """
    there = listed(endpoint.adapters) if endpoint.adapters else "none"
    asked = settings.get("adapter", [])
    lacking = [name for name in asked if name not in endpoint.adapters]
    if not lacking:
        return asked[0] if asked else None
    sentence = f"the server at {endpoint.url} has no adapter {lacking[0]!r}: it has {there}"
    if settings.is_flag("adapter"):
        raise UsageError(f"{sentence[0].upper()}{sentence[1:]}.")
    say(f"tulu: {sentence}, so the model answers alone.")
    return None


def refuse_adapters(settings: Settings, url: str | None, say: Callable[[str], None]) -> None:
    """Raise UsageError for adapters that a flag names, of a server that is asked with messages.

    Those of a file of settings are left out, which is said.
    """
    if "adapter" not in settings.values:
        return
    sentence = f"the server at {url} is asked with messages, where -m names what answers"
    if settings.is_flag("adapter"):
        raise UsageError(
            f"{sentence[0].upper()}{sentence[1:]}, an adapter too: leave --adapter out."
        )
    say(f"tulu: {sentence}, so the adapters of the settings are left out.")


def _held_warm(name: str, files: ModelFiles) -> Path | None:
    """Return the directory of an adapter by the name that a warm engine of the model has for it."""
    for warm in warm_engines():
        held = warm.order.identity
        if held.directory == str(files.directory):
            for one in held.settings.get("adapters", ()):
                if one["name"] == name:
                    return Path(one["directory"])
    return None


def _is_base(base: str, files: ModelFiles) -> bool:
    """Return True if the model is the one that an adapter names, also in another place."""
    names = {files.ref.repo, files.ref.name, str(files.ref.path), str(files.directory)}
    last = base.rstrip("/").rpartition("/")[2].lower()
    return base in names or any(
        last == str(name).rstrip("/").rpartition("/")[2].lower() for name in names
    )


def _check_prompt(adapter: Adapter, files: ModelFiles) -> None:
    """Raise BadInput for an adapter that needs other prompts than its model.

    What it was trained on is made by a chat template and a tokenizer that it may have beside it.
    """
    config = read_json(adapter.directory / "tokenizer_config.json")
    own = read_chat_templates(adapter.directory, config).get("default")
    if own is not None:
        told = read_json(files.directory / "tokenizer_config.json")
        base = read_chat_templates(files.directory, told).get("default")
        if base is None or own.strip() != base.strip():
            raise BadInput(
                f"The adapter {adapter.name} has a chat template of its own, and prompts are made "
                f"with that of {files.ref.name}: put it into a copy of the model, or take the file "
                "out of the adapter."
            )
    added = _added_tokens(adapter.directory) - _added_tokens(files.directory)
    if added:
        raise BadInput(
            f"The adapter {adapter.name} adds tokens to its model ({listed(sorted(added), 3)}), "
            "which no engine takes: merge it into its base with PEFT (merge_and_unload)."
        )


def _added_tokens(directory: Path) -> set[str]:
    """Return the tokens that a tokenizer has beside its ordinary ones, those of the model too."""
    rows = read_json(directory / "tokenizer.json").get("added_tokens")
    found = rows if isinstance(rows, list) else []
    return {str(row["content"]) for row in found if isinstance(row, dict) and "content" in row}
