"""From settings to a loaded engine: which model, which tokenizer, which engine, how long a context.

`prepare` decides all that and reads only small files, so that a bad prompt is refused in a moment;
`fetch` gets the weights, and `load` loads them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tulu_cli import engines
from tulu_cli.engines.base import Engine, EngineSpec
from tulu_cli.errors import DoesNotFit, UsageError
from tulu_cli.machine import Machine
from tulu_cli.models import ModelFiles, Progress, locate, resolve, tulu_system_prompt
from tulu_cli.prompt import Tokenizer
from tulu_cli.room import Wish, refusal
from tulu_cli.settings import Settings

# The model card advises --max_model_len=8192.
ADVISED_CONTEXT = 8192
# Tülu 3 8B in bf16 is 16.1 GB of weights; the rest is for a context of 8,192 and the activations.
_DEFAULT_NEEDS_BYTES = 20 * 2**30


@dataclass(frozen=True)
class Prepared:
    """A model that is understood but not loaded. `say` takes what is said on the way."""

    files: ModelFiles
    tokenizer: Tokenizer
    choice: engines.Choice
    spec: EngineSpec
    end_token_ids: tuple[int, ...]
    say: Callable[[str], None] | None = None


def prepare(
    settings: Settings,
    machine: Machine,
    *,
    say: Callable[[str], None],
    progress: Progress,
    offline: bool = False,
    trust_remote_code: bool = False,
    engine_args: Mapping[str, Any] | None = None,
) -> Prepared:
    """Decide what to run. Raises UsageError, NoEngine, ModelNotFound or BadInput."""
    choice = engines.choose(settings.get("engine", "auto"), machine)
    name = settings.get("model")
    ref = resolve(default_model(machine, say) if name is None else name, settings.aliases)
    files = locate(ref, offline=offline, weights=False, progress=progress, say=say)
    _refuse_reward_model(files)
    tokenizer = Tokenizer.load(files.directory)
    spec = EngineSpec(
        name=ref.repo or ref.name,
        directory=files.directory,
        tokenizer=tokenizer,
        max_model_len=context_length(settings.get("max_model_len"), files.max_model_len),
        revision=files.revision,
        trust_remote_code=trust_remote_code,
        engine_args=engine_args or {},
        **{name: value for name in _PASSED_ON if (value := settings.get(name)) is not None},
    )
    return Prepared(files, tokenizer, choice, spec, end_tokens(files, tokenizer), say)


_PASSED_ON = (
    "dtype",
    "quantization",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "device",
)


def require_room(prepared: Prepared, machine: Machine) -> None:
    """Ask the planner before the weights are fetched. Raises DoesNotFit where it is sure."""
    spec = prepared.spec
    wish = Wish(
        name=spec.name,
        config=prepared.files.config,
        engine=prepared.choice.engine,
        eager=spec.purpose == "one-shot",
        **{name: getattr(spec, name) for name in (*_PASSED_ON, "max_model_len", "engine_args")},
    )
    if sentence := refusal(wish, machine):
        raise DoesNotFit(sentence)


def fetch(prepared: Prepared, *, progress: Progress, offline: bool = False) -> Prepared:
    """The same with the weights on this machine. Raises what `locate` raises."""
    ref = prepared.files.ref
    files = locate(ref, offline=offline, progress=progress, say=prepared.say)
    spec = replace(prepared.spec, directory=files.directory, revision=files.revision)
    return replace(prepared, files=files, spec=spec)


def load(prepared: Prepared) -> Engine:
    """Load the weights. Raises what the engine raises."""
    return engines.load(prepared.choice, prepared.spec)


def say_choices(prepared: Prepared, say: Callable[[str], None]) -> None:
    """Which engine and which model, and why."""
    for name, reason in prepared.choice.reasons:
        say(f"tulu: engine {name}: {reason}")
    say(f"tulu: model {prepared.spec.name} in {prepared.spec.directory}")


def default_model(machine: Machine, say: Callable[[str], None]) -> str:
    """Tülu 3 8B where a GPU has room for it, else the demo; says which and why."""
    free = max((gpu.free_bytes for gpu in machine.gpus), default=0)
    if free >= _DEFAULT_NEEDS_BYTES:
        say(f"tulu: using Tülu 3 8B, as a GPU has {free / 2**30:.1f} GiB free; -m chooses another.")
        return "8b"
    reason = f"the GPU has only {free / 2**30:.1f} GiB free" if machine.gpus else "there is no GPU"
    say(f"tulu: using the small demo model, as {reason}; -m chooses another.")
    return "demo"


def system_prompt(settings: Settings, files: ModelFiles) -> str | None:
    """The system prompt that was asked for, by its text or its name, else the model's own."""
    named = {**settings.prompts, "tulu": tulu_system_prompt(), "none": None}
    asked = settings.get("system", "tulu" if files.ref.is_tulu else "none")
    return named.get(asked, asked)


def context_length(asked: int | None, model: int | None) -> int:
    """The context length to run with, in tokens. Raises UsageError beyond what the model has."""
    if asked is None:
        return min(ADVISED_CONTEXT, model or ADVISED_CONTEXT)
    if model is not None and asked > model:
        raise UsageError(f"--max-model-len {asked:,} is more than the model's {model:,} tokens.")
    return asked


def end_tokens(files: ModelFiles, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end an answer: those of the model's configs, and its tokenizer's EOS."""
    eos = tokenizer.eos_token_id
    return tuple(dict.fromkeys((*files.eos_token_ids, *(() if eos is None else (eos,)))))


def _refuse_reward_model(files: ModelFiles) -> None:
    if any("ForSequenceClassification" in name for name in files.architectures):
        raise UsageError(f"{files.ref.name} is a reward model: it scores answers and writes none.")
