"""Decide which model answers, on which engine, with which tokenizer and context length.

`prepare` reads only small files, so that a bad prompt is refused in a moment. What the user got
wrong is said before what the machine lacks. Where another process has the model loaded already,
that is found out here, once, for every command.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tulu_cli.core import Constraint, TokenIds
from tulu_cli.engines.base import EngineSpec, ServedModel
from tulu_cli.engines.choose import EngineChoice, choose
from tulu_cli.errors import ModelNotFound, UsageError
from tulu_cli.loading import adapters, drafts, servers
from tulu_cli.loading.engine_args import check_engine_args
from tulu_cli.models import TULU_SYSTEM_PROMPT, ModelFiles, Progress, locate, resolve
from tulu_cli.models.config import choose_context_length
from tulu_cli.models.draft import NONE
from tulu_cli.models.reference import IsAdapter
from tulu_cli.prompt import LateTokenizer, Tokenizer
from tulu_cli.render.talk import progress_on
from tulu_cli.settings import Setting
from tulu_cli.text import gib, one_line
from tulu_cli.warm.endpoint import ChatServer, Endpoint

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.settings import Settings
    from tulu_cli.streams import Streams

# Tülu 3 8B in bf16 is 16.1 GB of weights; the rest is for a context of 8,192 and the activations.
_DEFAULT_NEEDS_BYTES = 20 * 2**30
_PASSED_ON = (
    "dtype",
    "quantization",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "device",
)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Where an answer is to come from: the settings, and the switches that are none of them.

    Of several servers, `mixed` allows other models than the first one's, and `server_wait` is for
    how many seconds one is waited for where none is left.
    """

    settings: "Settings"
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    no_server: bool = False
    offline: bool = False
    trust_remote_code: bool = False
    deterministic: bool = False
    force: bool = False
    verbose: bool = False
    mixed: bool = False
    server_wait: float = 300.0

    def without_draft(self) -> "LoadOptions":
        """Return the options for the model alone, for what is measured and recorded.

        A warm engine that drafts does not answer in its place either.
        """
        settings = self.settings.without("draft_tokens")
        alone = {**settings.values, "draft": Setting(NONE, "default")}
        return replace(self, settings=replace(settings, values=alone))


@dataclass(frozen=True, slots=True)
class TokenModel:
    """A model whose prompts are made here, of token ids; understood, but not loaded.

    `adapter` is the one that answers, None for the model alone; `adapters` are all that are loaded.
    `spec.server` is set where another process has it loaded. Else, with `keep_alive` seconds, one
    is started that stays for so long after its last use. `on_cpu` is for an engine of this machine.
    """

    files: ModelFiles
    tokenizer: Tokenizer
    spec: EngineSpec
    end_token_ids: TokenIds
    keep_alive: float = 0.0
    adapter: str | None = None
    on_cpu: bool = False

    @property
    def adapters(self) -> tuple[str, ...]:
        """Return the names of the adapters that requests can ask for."""
        if self.spec.server is not None:
            return self.spec.server.adapters
        return tuple(adapter.name for adapter in self.spec.adapters)

    @property
    def draft(self) -> str | None:
        """Return the name of what drafts for the model, None where nothing does."""
        if self.spec.server is not None:
            return self.spec.server.draft
        return None if self.spec.draft is None else self.spec.draft.name

    @property
    def drafts_on_cpu(self) -> bool:
        """Return True where there is a draft, and no GPU."""
        server = self.spec.server
        on_cpu = self.on_cpu if server is None else server.info.device == "cpu"
        return on_cpu and self.draft is not None

    @property
    def label(self) -> str:
        """Return the model's full name, with the adapter that answers."""
        return self.name if self.adapter is None else f"{self.name} + {self.adapter}"

    @property
    def name(self) -> str:
        """Return the model's full name, as engines and servers know it."""
        return self.spec.name

    @property
    def title(self) -> str:
        """Return what the user calls the model; of a path only the end. The adapter follows."""
        ref = self.files.ref
        title = ref.name if ref.path is None else ref.path.name
        return title if self.adapter is None else f"{title} + {self.adapter}"

    @property
    def generation_config(self) -> Mapping[str, Any]:
        """Return what the model's authors advise for sampling."""
        return self.files.generation_config

    @property
    def max_model_len(self) -> int:
        """Return the context length in tokens."""
        return self.spec.max_model_len

    def system_prompt(self, settings: "Settings") -> str | None:
        """Return the system prompt that applies, the model's own where none was asked for."""
        return system_prompt(settings, is_tulu=self.files.ref.is_tulu)

    def refuse(self, constraint: Constraint | None = None, **options: object) -> None:
        """Accept every option."""

    @property
    def place(self) -> str:
        """Return where the model is."""
        return str(self.spec.directory)

    @property
    def elsewhere(self) -> str | None:
        """Return what holds the model loaded: "warm vllm", or the host of a server; None here."""
        server = self.spec.server
        if server is None:
            return None
        return f"warm {server.info.engine}" if server.url is None else urlsplit(server.url).netloc


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model on a server that makes the prompt itself, of messages: no file of it is here."""

    served: ServedModel
    adapter: None = None
    adapters: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Return the name that the server has for the model."""
        return self.served.name

    @property
    def name(self) -> str:
        """Return the name that the server has for the model."""
        return self.served.name

    @property
    def title(self) -> str:
        """Return what the user calls the model."""
        return self.served.name

    @property
    def generation_config(self) -> Mapping[str, Any]:
        """Return no advice for sampling: the server gives none."""
        return {}

    @property
    def max_model_len(self) -> None:
        """Return None: such a server does not tell its context length."""
        return

    def system_prompt(self, settings: "Settings") -> str | None:
        """Return the system prompt that was asked for, if one was."""
        return system_prompt(settings, is_tulu=False)

    def has_no_tokens(self) -> UsageError:
        """Return the refusal of what needs the model's tokens."""
        return UsageError(
            f"The server at {self.place} makes the prompt itself, of messages: it takes no plain "
            "text, and its tokens are not known here."
        )

    def refuse(self, constraint: Constraint | None = None, **options: object) -> None:
        """Raise UsageError for the first of these options that was given."""
        servers.refuse(options, constraint, self.served.server.url)

    @property
    def place(self) -> str:
        """Return where the model is."""
        return str(self.served.server.url)

    @property
    def elsewhere(self) -> str:
        """Return the server's host."""
        return urlsplit(self.place).netloc


@dataclass(frozen=True)
class Prepared:
    """What answers, decided but not loaded.

    `settings` are those that apply to the model: without what its server cannot be told. `say`
    takes what is said on the way.
    """

    model: TokenModel | ChatModel
    choice: EngineChoice
    settings: "Settings"
    options: LoadOptions
    machine: "Machine"
    say: Callable[[str], None]

    @property
    def engine_name(self) -> str:
        """Return which engine answers, or will; for a server, where that is."""
        return self.model.elsewhere or self.choice.engine

    def token_model(self) -> TokenModel:
        """Return the model, if its tokens are known here. Raise UsageError if not."""
        if isinstance(self.model, ChatModel):
            raise self.model.has_no_tokens()
        return self.model


def prepare(options: LoadOptions, machine: "Machine", streams: "Streams") -> Prepared:
    """Decide what answers: the server that was named, else a warm engine, else a new one.

    Progress goes to stderr, as does what was chosen for the user; with `verbose` also why. Raise
    UsageError, ModelNotFound or BadInput for what the user got wrong, EngineError where a
    named server does not answer, and NoEngine where nothing can run here.
    """
    options = replace(options, settings=adapters.chosen_adapters(options.settings))
    with progress_on(streams) as progress:
        try:
            prepared = _decided(options, machine, streams.say, progress)
        except IsAdapter as found:
            settings = adapters.with_base(options.settings, found, streams.say)
            options = replace(options, settings=settings)
            prepared = _decided(options, machine, streams.say, progress)
    if options.verbose:
        say_choices(prepared)
    return prepared


def _decided(
    options: LoadOptions, machine: "Machine", say: Callable[[str], None], progress: Progress
) -> Prepared:
    settings = options.settings
    # What is wrong with it is said first.
    keep_alive = servers.seconds(settings.get("keep_alive", "0"))
    name = settings.get("model")
    places = () if options.no_server else servers.places_of(settings)
    stays = bool(keep_alive) and not options.no_server and not places
    check_engine_args(options.engine_args, "warm" if stays else "any")
    named: Endpoint | None = None
    if not places:
        if name is None:
            name = adapters.base_of(settings, offline=options.offline, progress=progress, say=say)
        if name is not None:
            resolve(name, settings.aliases)  # what the user got wrong is said first
        asked = name
        choice = choose(drafts.engine_for(settings), machine)
    else:
        server = _server_at(places, options)
        choice = servers.choice_for(server, "asked for by --server")
        if isinstance(server, ChatServer):
            return _on_chat_server(server, choice, options, machine, say)
        named = server
        # The settings name a model for this machine, the server has its own.
        asked = servers.meant_model(named, settings)
    files = _files_of(asked, named, options, machine, say, progress)
    if isinstance(files, ChatServer):
        choice = servers.choice_for(files, "asked for by --server")
        return _on_chat_server(files, choice, options, machine, say)
    prepared = _of_tokens(files, named, choice, options, machine, say, progress)
    model = prepared.token_model()
    if named is not None:
        is_path = files.ref.path is not None
        servers.check_model(named, model.spec, is_path=is_path, say=say)
        return answered_by(prepared, model, named, "asked for by --server")
    if model.spec.server is not None:
        return answered_by(prepared, model, model.spec.server, "warm, and chosen")
    return prepared


def _server_at(places: Sequence[str], options: LoadOptions) -> Endpoint | ChatServer:
    """Return the first named server that answers. Raise UsageError, or EngineError for none."""
    settings = options.settings
    _refuse_loading(options, places[0])
    name = settings.get("model")
    wanted = None if name is None else settings.aliases.get(name, name)
    return servers.first_that_answers(
        places, settings.get("api_key_env"), wanted, in_flight=settings.get("in_flight")
    )


def _refuse_loading(options: LoadOptions, place: str) -> None:
    """Raise UsageError for a flag of how an engine is loaded, where a named server answers."""
    settings = options.settings
    given = {
        "engine_arg": bool(options.engine_args),
        "deterministic": options.deterministic,
        "draft": settings.is_flag("draft") and drafts.is_chosen(settings),
        "draft_tokens": settings.is_flag("draft_tokens"),
    }
    for name in ("engine", *_PASSED_ON, "max_model_len"):
        given[name] = settings.is_flag(name) and settings.get(name) != "auto"
    for name in filter(given.get, given):
        raise UsageError(
            f"--{name.replace('_', '-')} is for an engine that is loaded here: {place} answers "
            "with what it was started with. Leave it out, or give --no-server."
        )


def _of_tokens(
    files: ModelFiles,
    named: Endpoint | None,
    choice: EngineChoice,
    options: LoadOptions,
    machine: "Machine",
    say: Callable[[str], None],
    progress: Progress,
) -> Prepared:
    """Return a model whose prompts are made here; where a warm engine has it, with that server."""
    settings, ref = options.settings, files.ref
    _refuse_reward_model(files)
    spec = EngineSpec(
        name=ref.repo or ref.name,
        directory=files.directory,
        tokenizer=LateTokenizer(files.directory),
        max_model_len=choose_context_length(settings.get("max_model_len"), files.max_model_len),
        revision=files.revision,
        trust_remote_code=options.trust_remote_code,
        deterministic=options.deterministic,
        engine_args=options.engine_args,
        **{name: value for name in _PASSED_ON if (value := settings.get(name)) is not None},
    )
    adapter = None
    if named is not None:
        adapter = adapters.adapter_of_server(settings, named, say)
    else:
        if "adapter" in settings.values:
            found = adapters.find_adapters(
                settings, files, offline=options.offline, progress=progress, say=say
            )
            spec, adapter = replace(spec, adapters=found), found[0].name
        spec = drafts.with_draft(
            spec,
            settings,
            files,
            choice.engine,
            offline=options.offline,
            progress=progress,
            say=say,
        )
    running = None
    if named is None and not options.no_server:
        running = servers.find(spec, settings, machine, say)
    if running is None:
        if named is None:
            adapters.check_library(spec.adapters, choice.engine, machine)
        spec = replace(spec, tokenizer=Tokenizer.load(files.directory))
        ends = end_tokens(files, spec.tokenizer)
    else:
        spec, ends = replace(spec, server=running), running.end_token_ids
    kept = 0.0 if options.no_server else servers.seconds(settings.get("keep_alive", "0"))
    on_cpu = not machine.gpus or spec.device == "cpu"
    model = TokenModel(files, spec.tokenizer, spec, ends, kept, adapter, on_cpu)
    return Prepared(model, choice, settings, options, machine, say)


def _files_of(
    asked: str | None,
    named: Endpoint | None,
    options: LoadOptions,
    machine: "Machine",
    say: Callable[[str], None],
    progress: Progress,
) -> ModelFiles | ChatServer:
    """Return the small files of the model that is asked for, that a server has, or by default.

    Return the server itself where those of its own model are not here.
    """

    def found(name: str) -> ModelFiles:
        ref = resolve(name, options.settings.aliases)
        return locate(ref, offline=options.offline, weights=False, progress=progress, say=say)

    try:
        root = named.root if named is not None else None
        return found(asked or root or default_model(machine, say))
    except ModelNotFound as error:
        if named is None:
            raise
        if asked is None:
            # What the user calls the server's model may be one that is here.
            own = options.settings.get("model")
            if own is not None:
                with suppress(ModelNotFound):
                    return found(own)
            return servers.without_tokenizer(named, say)
        has = f"The server at {named.url} has the model {one_line(named.info.model)}."
        raise ModelNotFound(f"{error} {has}") from error


def say_choices(prepared: Prepared) -> None:
    """Say which engine and which model answer, and why."""
    for name, reason in prepared.choice.reasons:
        prepared.say(f"tulu: engine {name}: {reason}")
    prepared.say(f"tulu: model {prepared.model.label} in {prepared.model.place}")


def answered_by(prepared: Prepared, model: TokenModel, endpoint: Endpoint, why: str) -> Prepared:
    """Point `prepared` at an engine in another process, and adopt its context length."""
    length = endpoint.info.max_model_len or model.spec.max_model_len
    spec = replace(model.spec, server=endpoint, max_model_len=length)
    there = replace(model, spec=spec, keep_alive=0.0)
    return replace(prepared, model=there, choice=servers.choice_for(endpoint, why))


def _on_chat_server(
    server: ChatServer,
    choice: EngineChoice,
    options: LoadOptions,
    machine: "Machine",
    say: Callable[[str], None],
) -> Prepared:
    adapters.refuse_adapters(options.settings, server.url, say)
    model = ChatModel(ServedModel(servers.chosen_model(server, options.settings), server))
    settings = servers.applicable(options.settings, server.url, say)
    return Prepared(model, choice, settings, options, machine, say)


def default_model(machine: "Machine", say: Callable[[str], None]) -> str:
    """Choose Tülu 3 8B where a GPU has memory for it, else the demo; say which and why."""
    free = max((gpu.free_bytes for gpu in machine.gpus), default=0)
    if free >= _DEFAULT_NEEDS_BYTES:
        say(f"tulu: using Tülu 3 8B, as a GPU has {gib(free, 1)} free; -m chooses another.")
        return "8b"
    reason = f"the GPU has only {gib(free, 1)} free" if machine.gpus else "there is no GPU"
    say(f"tulu: using the small demo model, as {reason}; -m chooses another.")
    return "demo"


def system_prompt(settings: "Settings", *, is_tulu: bool) -> str | None:
    """Return the system prompt that was asked for, by its text or its name.

    Where none was, the Tülu models have that of their demo, other models none.
    """
    named = {**settings.prompts, "tulu": TULU_SYSTEM_PROMPT, "none": None}
    asked = settings.get("system", "tulu" if is_tulu else "none")
    return named.get(asked, asked)


def end_tokens(files: ModelFiles, tokenizer: Tokenizer) -> TokenIds:
    """Return the tokens that end an answer: those of the configs, and the tokenizer's EOS."""
    eos = tokenizer.eos_token_id
    return tuple(dict.fromkeys((*files.eos_token_ids, *(() if eos is None else (eos,)))))


def _refuse_reward_model(files: ModelFiles) -> None:
    if any("ForSequenceClassification" in name for name in files.architectures):
        raise UsageError(f"{files.ref.name} is a reward model: it scores answers and writes none.")
