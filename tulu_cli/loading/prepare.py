"""From settings to a loaded engine: which model, which tokenizer, which engine, how long a context.

`prepare` decides all that and reads only small files, so that a bad prompt is refused in a moment;
`fetch` gets the weights, and `load` loads them. Where another process has the model loaded already,
all three are quick: that is decided here, once, for every command.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tulu_cli.core import Constraint
from tulu_cli.engines.base import Engine, EngineSpec
from tulu_cli.engines.choose import EngineChoice, choose
from tulu_cli.engines.choose import load as load_engine
from tulu_cli.errors import DoesNotFit, UsageError
from tulu_cli.loading import servers
from tulu_cli.loading.fits import Wish, refusal
from tulu_cli.machine import Machine
from tulu_cli.models import (
    ModelFiles,
    ModelRef,
    Progress,
    locate,
    no_progress,
    resolve,
    tulu_system_prompt,
)
from tulu_cli.prompt import LateTokenizer, Tokenizer, UnknownTokenizer
from tulu_cli.settings import Settings
from tulu_cli.text import gib
from tulu_cli.warm.endpoint import Endpoint
from tulu_cli.warm.record import LaunchOrder

# The model card advises --max_model_len=8192.
ADVISED_CONTEXT = 8192
# Tülu 3 8B in bf16 is 16.1 GB of weights; the rest is for a context of 8,192 and the activations.
_DEFAULT_NEEDS_BYTES = 20 * 2**30


@dataclass(frozen=True)
class Prepared:
    """A model that is understood but not loaded. `say` takes what is said on the way.

    `spec.server` is set where another process has it loaded. Else, with `keep_alive` seconds, one
    is started that stays for so long after its last use. `settings` are those that apply to it.
    """

    files: ModelFiles
    tokenizer: Tokenizer
    choice: EngineChoice
    spec: EngineSpec
    end_token_ids: tuple[int, ...]
    say: Callable[[str], None] | None = None
    machine: Machine = field(default_factory=Machine)
    keep_alive: float = 0.0
    settings: Settings = field(default_factory=Settings)

    @property
    def takes_messages(self) -> bool:
        """Whether a server makes the prompt: then `tokenizer` and `files` know nothing."""
        return self.spec.server is not None and self.spec.server.takes_messages

    def refuse(self, constraint: Constraint | None = None, **options: object) -> None:
        """Raises UsageError for an option that was given, where a server makes the prompt."""
        if self.spec.server is not None and self.takes_messages:
            servers.refuse(options, constraint, self.spec.server.url)

    @property
    def loading(self) -> str:
        """What there is to say while `load` is at it; nothing where its progress says it."""
        if self.spec.server is not None or self.keep_alive:
            return ""
        return f"Loading {self.spec.name} with {self.choice.engine} ..."


def prepare(
    settings: Settings,
    machine: Machine,
    *,
    say: Callable[[str], None],
    progress: Progress,
    offline: bool = False,
    trust_remote_code: bool = False,
    engine_args: Mapping[str, Any] | None = None,
    no_server: bool = False,
) -> Prepared:
    """Decide what to run. Raises UsageError, NoEngine, ModelNotFound or BadInput.

    A server that was named answers, else a warm engine that has what is wanted, else a new one.
    `no_server` leaves the first two out.
    """
    elsewhere = None if no_server else named_server(settings)
    if elsewhere is not None and elsewhere.takes_messages:
        return understood_elsewhere(elsewhere, settings, machine, say)
    if elsewhere is None:
        choice = choose(settings.get("engine", "auto"), machine)
    else:
        choice = servers.choice_for(elsewhere, "asked for by --server")
    name = settings.get("model")
    if elsewhere is not None and not settings.is_flag("model"):
        name = elsewhere.root
    ref = resolve(default_model(machine, say) if name is None else name, settings.aliases)
    files = locate(ref, offline=offline, weights=False, progress=progress, say=say)
    _refuse_reward_model(files)
    spec = EngineSpec(
        name=ref.repo or ref.name,
        directory=files.directory,
        tokenizer=LateTokenizer(files.directory),
        max_model_len=context_length(settings.get("max_model_len"), files.max_model_len),
        revision=files.revision,
        trust_remote_code=trust_remote_code,
        engine_args=engine_args or {},
        **{name: value for name in _PASSED_ON if (value := settings.get(name)) is not None},
    )
    keep_alive = servers.seconds(settings.get("keep_alive", "0"))
    running = None
    if elsewhere is None and not no_server:
        running = servers.find(spec, settings, machine, say)
    if running is None:
        spec = replace(spec, tokenizer=Tokenizer.load(files.directory))
        ends = end_tokens(files, spec.tokenizer)
    else:
        ends = running.end_token_ids
    prepared = Prepared(
        files, spec.tokenizer, choice, spec, ends, say, machine, keep_alive, settings
    )
    if no_server:
        return replace(prepared, keep_alive=0.0)
    if elsewhere is not None:
        servers.check_model(elsewhere, spec)
        return answered_by(prepared, elsewhere, "asked for by --server")
    return prepared if running is None else answered_by(prepared, running, "warm, and chosen")


def check_server_options(settings: Settings, *, no_server: bool) -> None:
    """Raises UsageError for flags that name more than one place where the answer comes from."""
    for name in ("keep_alive", "server"):
        if no_server and settings.is_flag(name):
            raise UsageError(f"--no-server and --{name.replace('_', '-')} exclude one another.")
    if settings.is_flag("keep_alive") and settings.is_flag("server"):
        raise UsageError("--keep-alive is for an engine on this machine, not for --server.")


def named_server(settings: Settings) -> Endpoint | None:
    """The server that the settings name, if it answers. Raises UsageError, EngineError."""
    url, key = settings.get("server"), settings.get("api_key_env")
    return None if url is None else servers.at_url(url, key)


def understood_elsewhere(
    endpoint: Endpoint, settings: Settings, machine: Machine, say: Callable[[str], None]
) -> Prepared:
    """A model on a server that makes its own prompt. Raises UsageError for what that cannot do."""
    name = servers.chosen_model(endpoint, settings)
    tokenizer = UnknownTokenizer(
        f"The server at {endpoint.url} makes the prompt itself, of messages: it takes no plain "
        "text, and its tokens are not known here."
    )
    files = ModelFiles(ModelRef(name, "server"), Path(), None, {}, {})
    return Prepared(
        files=files,
        tokenizer=tokenizer,
        choice=servers.choice_for(endpoint, "asked for by --server"),
        spec=EngineSpec(name, files.directory, tokenizer, max_model_len=0, server=endpoint),
        end_token_ids=(),
        say=say,
        machine=machine,
        settings=servers.applicable(settings, endpoint.url, say),
    )


def answered_by(prepared: Prepared, endpoint: Endpoint, reason: str) -> Prepared:
    """The same with an engine in another process, whose context length is what there is."""
    spec = replace(prepared.spec, server=endpoint, max_model_len=endpoint.info.max_model_len)
    choice = servers.choice_for(endpoint, reason)
    return replace(prepared, spec=spec, choice=choice, keep_alive=0.0)


_PASSED_ON = (
    "dtype",
    "quantization",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "device",
)


def _require_room(prepared: Prepared) -> None:
    """Ask the planner before the weights are fetched. Raises DoesNotFit or NoEngine where sure."""
    spec = prepared.spec
    wish = Wish(
        name=spec.name,
        config=prepared.files.config,
        engine=prepared.choice.engine,
        eager=spec.purpose == "one-shot",
        as_server=spec.purpose == "server",
        **{name: getattr(spec, name) for name in (*_PASSED_ON, "max_model_len", "engine_args")},
    )
    if sentence := refusal(wish, prepared.machine):
        error = DoesNotFit(sentence)
        raise servers.with_hint(error) if prepared.machine.gpus else error


def fetch(
    prepared: Prepared, *, progress: Progress, offline: bool = False, force: bool = False
) -> Prepared:
    """The same with the weights on this machine.

    Raises what `locate` raises, and DoesNotFit or NoEngine where the planner is sure of it, unless
    `force`.
    """
    if prepared.spec.server is not None:
        return prepared
    if not force:
        _require_room(prepared)
    ref = prepared.files.ref
    files = locate(ref, offline=offline, progress=progress, say=prepared.say)
    spec = replace(prepared.spec, directory=files.directory, revision=files.revision)
    return replace(prepared, files=files, spec=spec)


def load(prepared: Prepared, *, progress: Progress = no_progress) -> Engine:
    """Load the weights, here or in a process that stays. Raises what the engine raises."""
    try:
        if prepared.keep_alive and prepared.spec.server is None:
            endpoint = servers.start(order(prepared, prepared.keep_alive), progress)
            prepared = answered_by(prepared, endpoint, "started to stay warm")
        return load_engine(prepared.choice, prepared.spec)
    except DoesNotFit as error:
        raise servers.with_hint(error) from error


def order(prepared: Prepared, keep_alive: float, *, leashed: bool = False) -> LaunchOrder:
    """What a supervisor is told, to hold this model for so many idle seconds."""
    return servers.order_of(
        prepared.spec,
        prepared.choice.engine,
        prepared.machine,
        asked=prepared.files.ref.name,
        end_token_ids=prepared.end_token_ids,
        keep_alive=keep_alive,
        leashed=leashed,
    )


def say_choices(prepared: Prepared, say: Callable[[str], None]) -> None:
    """Which engine and which model, and why."""
    for name, reason in prepared.choice.reasons:
        say(f"tulu: engine {name}: {reason}")
    server = prepared.spec.server
    place = server.url if server is not None and server.takes_messages else prepared.spec.directory
    say(f"tulu: model {prepared.spec.name} in {place}")


def default_model(machine: Machine, say: Callable[[str], None]) -> str:
    """Tülu 3 8B where a GPU has room for it, else the demo; says which and why."""
    free = max((gpu.free_bytes for gpu in machine.gpus), default=0)
    if free >= _DEFAULT_NEEDS_BYTES:
        say(f"tulu: using Tülu 3 8B, as a GPU has {gib(free, 1)} free; -m chooses another.")
        return "8b"
    reason = f"the GPU has only {gib(free, 1)} free" if machine.gpus else "there is no GPU"
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
