"""The draft that a command names: found, and held against the model that it is to draft for."""

import filecmp
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.errors import NoEngine, TuluError, UsageError
from tulu_cli.models import ModelFiles, Progress, locate
from tulu_cli.models.config import text_part
from tulu_cli.models.draft import DEFAULT_TOKENS, NGRAM, NONE, Draft, refuse_head
from tulu_cli.models.reference import IsAdapter, resolve
from tulu_cli.prompt import Tokenizer
from tulu_cli.settings import Settings
from tulu_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tulu_cli.engines.base import EngineSpec

# What vLLM 0.30 to 0.33 look n-grams up with, by the release that all of them ask for.
NUMBA = "numba==0.65.0"


def is_chosen(settings: Settings) -> bool:
    """Return True if a draft is asked for. Raise UsageError for --draft-tokens without one."""
    asked = settings.get("draft", NONE)
    if asked == NONE and settings.is_flag("draft_tokens"):
        raise UsageError("--draft-tokens goes with --draft MODEL or --draft ngram.")
    return bool(asked != NONE)


def engine_for(settings: Settings) -> str:
    """Return the name of the engine that is asked for: a draft that a flag names asks for vLLM."""
    asked = str(settings.get("engine", "auto"))
    wants = asked == "auto" and settings.is_flag("draft") and is_chosen(settings)
    return "vllm" if wants else asked


def with_draft(
    spec: "EngineSpec",
    settings: Settings,
    files: ModelFiles,
    engine: str,
    *,
    offline: bool,
    progress: Progress,
    say: Callable[[str], None],
) -> "EngineSpec":
    """Return what is to be loaded with the draft of the settings, if there is one.

    Raise UsageError for a draft that does not go with the model or the engine, NoEngine where a
    library for it is missing, and ModelNotFound or BadInput for a model that is not there. One that
    no flag names is left out instead, and said.
    """
    if not is_chosen(settings):
        return spec
    try:
        _check_engine(settings, spec, engine)
        draft = _found(settings, files, offline=offline, progress=progress)
    except TuluError as error:
        if settings.is_flag("draft"):
            raise
        found = settings.values["draft"]
        say(f"tulu: draft = {one_line(found.value)} ({found.origin}) is left out: {error}")
        return spec
    return replace(spec, draft=draft)


def with_weights_of_draft(
    spec: "EngineSpec", settings: Settings, *, offline: bool, progress: Progress
) -> "EngineSpec":
    """Return what is to be loaded with the weights of its draft, fetched if need be."""
    draft = spec.draft
    if draft is None or not draft.is_model:
        return spec
    ref = resolve(draft.name, settings.aliases)
    files = locate(ref, offline=offline, progress=progress)
    return replace(spec, draft=replace(draft, directory=files.directory))


def _check_engine(settings: Settings, spec: "EngineSpec", engine: str) -> None:
    """Raise UsageError or NoEngine for what cannot draft, by anything but the draft itself."""
    if engine != "vllm":
        raise UsageError(f"--draft is for vLLM: {engine} drafts nothing here.")
    if spec.deterministic:
        raise UsageError(
            "--deterministic and --draft cannot be combined: how many tokens are checked at once "
            "depends on what else is asked, and with it how they are rounded."
        )
    if settings.get("draft") != NGRAM:
        if spec.pipeline_parallel_size > 1:
            raise UsageError(
                "A draft model cannot be divided among pipeline stages: leave "
                "--pipeline-parallel-size out, or give --draft ngram."
            )
    elif find_spec("numba") is None:
        raise NoEngine(f"vLLM looks n-grams up with numba: pip install '{NUMBA}'.")


def _found(settings: Settings, files: ModelFiles, *, offline: bool, progress: Progress) -> Draft:
    asked, tokens = settings.get("draft"), settings.get("draft_tokens", DEFAULT_TOKENS)
    if asked == NGRAM:
        return Draft(tokens=tokens)
    try:
        ref = resolve(asked, settings.aliases)
        there = locate(ref, offline=offline, weights=False, progress=progress)
    except IsAdapter as error:
        raise UsageError(
            f"{error.name} is an adapter: --draft takes a whole model, or ngram."
        ) from error
    refuse_head(ref.name, there.config)
    check_layers(ref.name, there.config)
    check_tokens(there, files)
    return Draft(asked, there.directory, tokens)


def check_layers(name: str, config: "Mapping[str, Any]") -> None:
    """Raise UsageError for a draft whose layers do not all keep every token.

    vLLM drafts with one group of the KV cache: validate_same_kv_cache_group of
    v1/spec_decode/llm_base_proposer.py, alike in 0.30 to 0.33. What the planner does not know is
    left to vLLM.
    """
    from tulu_cli.plan.architectures import read_shape
    from tulu_cli.plan.drafts import refuse_kinds

    try:
        shape = read_shape(config, name)
    except TuluError:
        return
    refuse_kinds(name, shape)


def _has_same_files(one: Path, other: Path) -> bool:
    """Return True for two directories with the same files of a tokenizer, which need no reading."""
    names = ("tokenizer.json", "tokenizer_config.json")
    same, _, _ = filecmp.cmpfiles(one, other, names, shallow=False)
    return len(same) == len(names)


def check_tokens(draft: ModelFiles, model: ModelFiles) -> None:
    """Raise UsageError for a draft whose tokens are not those of the model, by text and id."""
    name, of = draft.ref.name, model.ref.name
    hint = "give one that has, or --draft ngram"
    if not _has_same_files(draft.directory, model.directory):
        ours, theirs = (Tokenizer.load(files.directory) for files in (draft, model))
        vocabularies = [one.backend.get_vocab(with_added_tokens=True) for one in (ours, theirs)]
        differing = {*vocabularies[0].items()} ^ {*vocabularies[1].items()}
        if differing:
            example = one_line(min(text for text, _ in differing))
            raise UsageError(
                f"{name} cannot draft for {of}: it has not the same tokens ({ours.vocab_size:,} "
                f"and {theirs.vocab_size:,}; {example!r} for one is not the same): {hint}."
            )
        if ours.special_tokens != theirs.special_tokens:
            raise UsageError(
                f"{name} cannot draft for {of}: other tokens are control tokens there: {hint}."
            )
    sizes = [text_part(files.config).get("vocab_size") for files in (draft, model)]
    are_known = all(isinstance(size, int) for size in sizes)  # what is not told is left to vLLM
    if are_known and sizes[0] != sizes[1]:
        raise UsageError(
            f"{name} cannot draft for {of}: its weights have {sizes[0]:,} rows of tokens, and "
            f"those of {of} {sizes[1]:,}, which vLLM refuses: {hint}."
        )
