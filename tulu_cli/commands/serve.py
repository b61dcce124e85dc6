"""`tulu serve`: keep a model loaded, on a private socket or on a port."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import NoEngine, UsageError

# What a node of an H100 or A100 cluster has.
GPUS_OF_A_NODE = 8

if TYPE_CHECKING:
    from tulu_cli.loading import LoadOptions, Prepared
    from tulu_cli.machine import Machine
    from tulu_cli.models import ModelRef
    from tulu_cli.settings import Settings
    from tulu_cli.streams import Streams


EXAMPLES = (
    ("Load a model until Ctrl-C", "tulu serve 8b"),
    ("Load it in the background", "tulu serve 8b --detach --keep-alive 30m"),
    (
        "Serve it to programs that speak OpenAI's API, on this machine",
        "tulu serve 8b --host 127.0.0.1",
    ),
    (
        "Serve it to other machines, behind a key",
        "tulu serve 70b -tp 4 --host 0.0.0.0 --api-key-file key.txt",
    ),
    ("Print what serves it on two machines", "tulu serve 405b --nodes 2"),
)
EXIT_CODES = {
    code: meaning
    for code, meaning in _options.EXIT_CODES.items()
    if code in (0, 1, 2, 3, 4, 5, 7, 65)
}


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The model, as for -m of `tulu complete`.  [default: 8b if a GPU can hold it, "
            "else demo]",
            metavar="MODEL",
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Return when the engine is ready, and leave it running.",
            rich_help_panel=_options.SERVER,
        ),
    ] = False,
    keep_alive: Annotated[
        str | None,
        typer.Option(
            help="Unload the model after TIME idle (30s, 10m, 2h).  [default: never]",
            metavar="TIME",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Serve OpenAI's API at this address: 127.0.0.1 for this machine, 0.0.0.0 for all, "
            "with a key.",
            metavar="ADDRESS",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            help="Port for --host.",
            min=1,
            max=65535,
            metavar="PORT",
            rich_help_panel=_options.SERVER,
        ),
    ] = 8000,
    api_key_file: Annotated[
        str | None,
        typer.Option(
            help="File with the API key that --host asks of clients.",
            metavar="FILE",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            "--nnodes",
            help="Print the script that serves the model on N machines, and do no more.",
            min=2,
            metavar="N",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            "--replicas",
            "-dp",
            "--data-parallel-size",
            help="Print the script that serves N replicas of the model, on this machine or on "
            "--nodes, and do no more.",
            min=2,
            metavar="N",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Run vLLM on the Ray cluster at this address.",
            metavar="ADDRESS",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    adapter: _options.Adapter = None,
    engine: _options.Engine = None,
    dtype: _options.Dtype = None,
    quantization: _options.Quantization = None,
    draft: _options.Draft = None,
    draft_tokens: _options.DraftTokens = None,
    tensor_parallel_size: _options.TensorParallelSize = None,
    pipeline_parallel_size: _options.PipelineParallelSize = None,
    gpu_memory_utilization: _options.GpuMemoryUtilization = None,
    max_model_len: _options.MaxModelLen = None,
    device: _options.Device = None,
    engine_arg: _options.EngineArg = None,
    trust_remote_code: _options.TrustRemoteCode = False,
    deterministic: _options.Deterministic = False,
    force: _options.Force = False,
    profile: _options.Profile = None,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Keep a model loaded, so that other commands answer at once.

    The engine listens on a Unix socket that only you can open, and the other commands find it by
    themselves. End it with Ctrl-C, or with `tulu stop` if it runs with --detach.
    """
    flags = dict(locals())
    from tulu_cli.machine import read_machine
    from tulu_cli.streams import Streams

    chosen = ServeOptions(
        load=_options.load_options(flags),
        detach=detach,
        host=host,
        port=port,
        api_key_file=api_key_file,
        nodes=nodes,
        replicas=replicas,
        ray=ray,
    )
    run(chosen, Streams.standard(), read_machine())


@dataclass(frozen=True)
class ServeOptions:
    """What the command line asks for, understood."""

    load: "LoadOptions"
    detach: bool = False
    host: str | None = None
    port: int = 8000
    api_key_file: str | None = None
    nodes: int | None = None
    replicas: int | None = None
    ray: str | None = None

    @property
    def is_printed(self) -> bool:
        """True if a script is asked for, and no server of this process."""
        return self.nodes is not None or self.replicas is not None

    @property
    def printing(self) -> str:
        """The option that asks for a script."""
        return "--nodes" if self.nodes is not None else "--replicas"


def run(chosen: ServeOptions, streams: "Streams", machine: "Machine") -> None:
    """Serve. Raises TuluError; returns when the engine is ready, or has ended."""
    from tulu_cli.loading import prepare, with_weights
    from tulu_cli.serving.public import read_key

    check_combinations(chosen)
    if chosen.is_printed:
        for said in left_out(chosen):
            streams.say(f"tulu: {said}")
        streams.write(script_for_cluster(chosen, machine))
        return
    key = None if chosen.host is None else read_key(chosen.api_key_file, chosen.host)
    arguments = {**chosen.load.engine_args, **ray_args(chosen)}
    load = replace(chosen.load, engine_args=arguments, no_server=True)
    prepared = prepare(load, machine, streams)
    check_engine(chosen, prepared.choice.engine)
    prepared = with_weights(prepared, streams, purpose="server")
    if chosen.host is None:
        serve_privately(chosen, prepared, streams)
    elif prepared.choice.engine == "vllm":
        become_vllms_server(chosen, prepared, key)
    else:
        serve_on_port(chosen, prepared, key, streams)


def check_combinations(chosen: ServeOptions) -> None:
    """Raise UsageError for options that contradict one another."""
    from tulu_cli.serving.public import FIXED

    if chosen.host is None and chosen.api_key_file is not None:
        raise UsageError("--api-key-file goes with --host: a private socket needs no key.")
    if chosen.host is not None and chosen.detach:
        raise UsageError("--host runs in the foreground: --detach is for a private engine.")
    if chosen.host is not None and chosen.load.settings.is_flag("keep_alive"):
        raise UsageError("--keep-alive is for a private engine: one with --host stays.")
    for name, option in FIXED.items() if chosen.host is not None else ():
        if name in chosen.load.engine_args:
            raise UsageError(f"--engine-arg {name} contradicts {option}: leave it out.")
    if chosen.ray == "":
        raise UsageError("--ray takes the address of a Ray cluster, such as auto or HOST:PORT.")
    if chosen.ray is not None and "distributed_executor_backend" in chosen.load.engine_args:
        raise UsageError(
            "--engine-arg distributed_executor_backend contradicts --ray: leave it out."
        )
    if chosen.is_printed:
        check_printed(chosen)


def check_printed(chosen: ServeOptions) -> None:
    """Raise UsageError for what a printed script would leave out."""
    from tulu_cli.loading.adapters import chosen_adapters
    from tulu_cli.loading.drafts import is_chosen
    from tulu_cli.serving.deployment import check_arguments

    flag, settings = chosen.printing, chosen.load.settings
    given = {
        "--detach": chosen.detach,
        "--host": chosen.host is not None,
        "--keep-alive": settings.is_flag("keep_alive"),
        "--device": settings.is_flag("device"),
    }
    for option in (option for option, is_given in given.items() if is_given):
        raise UsageError(f"{flag} prints a script and starts nothing: leave {option} out.")
    engine = settings.get("engine")
    if settings.is_flag("engine") and engine not in ("auto", "vllm"):
        raise UsageError(f"{flag} is for vLLM's server: {engine} runs on one machine, as one.")
    own = f"to the command that {flag} prints"
    if chosen_adapters(settings).get("adapter"):
        raise _for_one_engine(settings, "adapter", f"--enable-lora and --lora-modules {own}")
    if is_chosen(settings):
        raise _for_one_engine(settings, "draft", f"--speculative-config {own}")
    if chosen.load.deterministic:
        raise UsageError(
            "--deterministic is for one engine: for several, set VLLM_BATCH_INVARIANT=1 on each "
            "machine, and give --engine-arg enable_prefix_caching=false."
        )
    check_arguments(chosen.load.engine_args)


def _for_one_engine(settings: "Settings", name: str, added: str) -> UsageError:
    """Make the refusal of a setting, by a flag or not, that a script does not have."""
    if settings.is_flag(name):
        return UsageError(f"--{name} is for one engine: for several, add vLLM's own {added}.")
    return UsageError(
        f"{name} ({settings.values[name].origin}) is for one engine: for several, give --{name} "
        f"none, and add vLLM's own {added}."
    )


def left_out(chosen: ServeOptions) -> Iterator[str]:
    """Yield which settings of this machine a printed script does not have, in a sentence each."""
    settings = chosen.load.settings
    told = {"engine": ("auto", "vllm"), "device": ("auto",)}
    for name, usual in told.items():
        if (value := settings.get(name, "auto")) not in usual:
            yield (
                f"{name} = {value} ({settings.values[name].origin}) is left out: "
                f"{chosen.printing} prints a script for vLLM on its machines' own devices."
            )


def check_engine(chosen: ServeOptions, engine: str) -> None:
    """Raise UsageError for what only vLLM does, NoEngine if Ray is asked for and missing."""
    from importlib.util import find_spec

    from tulu_cli.machine import install

    if chosen.ray is not None and engine != "vllm":
        raise UsageError(f"--ray needs --engine vllm: {engine} runs on one machine.")
    if chosen.ray is not None and find_spec("ray") is None:
        raise NoEngine(f"--ray needs Ray, which vLLM does not bring ({install('ray')}).")


def ray_args(chosen: ServeOptions) -> dict[str, Any]:
    """Return the engine's arguments that --ray stands for."""
    return {} if chosen.ray is None else {"distributed_executor_backend": "ray"}


def ray_environment(chosen: ServeOptions) -> dict[str, str]:
    """Return the environment in which the engine finds its Ray cluster."""
    return {} if chosen.ray is None else {"RAY_ADDRESS": chosen.ray}


def script_for_cluster(chosen: ServeOptions, machine: "Machine") -> str:
    """Return the script for several machines or replicas; this loads nothing, needs no engine."""
    from tulu_cli.models import resolve
    from tulu_cli.models.config import ADVISED_CONTEXT
    from tulu_cli.plan.search import share_machines
    from tulu_cli.serving.deployment import Deployment, deployment_script

    settings = chosen.load.settings
    usual = "8b" if chosen.nodes is None else "405b"
    ref = resolve(settings.get("model", usual), settings.aliases)
    passed = ("dtype", "quantization", "gpu_memory_utilization")
    arguments = {name: settings.get(name) for name in passed} | {
        "max_model_len": settings.get("max_model_len", ADVISED_CONTEXT),
        "revision": ref.revision,
        "trust_remote_code": True if chosen.load.trust_remote_code else None,
    }
    machines = len(machine.gpus) or GPUS_OF_A_NODE, chosen.nodes or 1
    layout = share_machines(
        machines,
        chosen.replicas or 1,
        tensor=settings.get("tensor_parallel_size"),
        pipeline=settings.get("pipeline_parallel_size"),
    )
    has_experts = chosen.replicas is not None and _has_experts(ref, offline=chosen.load.offline)
    return deployment_script(
        str(ref.repo or ref.path or ref.name),
        arguments | dict(chosen.load.engine_args),
        Deployment(machines[1], layout, has_experts),
        chosen.port,
        chosen.ray,
    )


def _has_experts(ref: "ModelRef", *, offline: bool) -> bool:
    """Return whether a model has experts, by its config. Raise what `locate` raises."""
    from tulu_cli.models import FAMILY, locate
    from tulu_cli.models.config import has_experts

    if ref.repo in {row.repository for row in FAMILY}:
        return False  # no file is needed for these
    return has_experts(locate(ref, offline=offline, weights=False).config)


def become_vllms_server(chosen: ServeOptions, prepared: "Prepared", key: str | None) -> None:
    """Become vLLM's server: its own process, its own signals, its own exit code."""
    import os

    from tulu_cli.engines.vllm.settings import invariance
    from tulu_cli.loading.servers import host_command
    from tulu_cli.serving.public import KEY_VARIABLE, bound, public_arguments

    model = prepared.token_model()
    spec, host = model.spec, str(chosen.host)
    if model.drafts_on_cpu:
        why = (
            "On a CPU vLLM loses the temperature of a request where a draft is loaded, and on a "
            "port anybody may ask for one"
        )
        if prepared.settings.is_flag("draft"):
            raise UsageError(f"{why}: leave --draft or --host out.")
        found = prepared.settings.values["draft"]
        prepared.say(f"tulu: draft = {model.draft} ({found.origin}) is left out: {why}.")
        spec = replace(spec, draft=None)
    bound(host, chosen.port).close()  # that it can be had is known before vLLM is imported
    arguments = public_arguments(spec, host, chosen.port, model.files.ref.name)
    command = [*host_command("vllm"), "--public", spec.device, *arguments]
    environment = os.environ | ray_environment(chosen)
    environment |= invariance(spec.device, deterministic=spec.deterministic)
    environment.pop(KEY_VARIABLE, None)
    if key is not None:
        environment[KEY_VARIABLE] = key
    os.execve(command[0], command, environment)  # noqa: S606 (no shell is wanted)


def serve_on_port(
    chosen: ServeOptions, prepared: "Prepared", key: str | None, streams: "Streams"
) -> None:
    """Load the engine in this process, and answer on a port until Ctrl-C or another signal."""
    import time
    from contextlib import suppress

    from tulu_cli.errors import DoesNotFit, ExitCode
    from tulu_cli.loading import order, servers
    from tulu_cli.render.talk import progress_on
    from tulu_cli.serving import host
    from tulu_cli.serving.guard import Guard
    from tulu_cli.serving.public import bound, url_of

    begun, address = time.monotonic(), str(chosen.host)
    asked = order(prepared, 0)
    engine = asked.identity.engine
    with bound(address, chosen.port) as listening:
        try:
            with progress_on(streams) as progress:
                progress(f"Loading {asked.asked} with {engine}", 0, 0)
                app, _ = host.load(asked)
            listening.listen()
            streams.say(
                f"tulu: {asked.asked} is ready after {time.monotonic() - begun:.1f} s "
                f"({engine}, {url_of(address, chosen.port)}/v1); Ctrl-C ends it."
            )
            with suppress(KeyboardInterrupt):  # where the shell lets Ctrl-C come
                # A terminal is not for the tracebacks of answers that a Ctrl-C cuts.
                host.serve(Guard(app, key), listening, log_level="critical")
            streams.say(f"tulu: stopped {asked.asked}.")
            host.leave(ExitCode.OK)
        except DoesNotFit as error:
            raise servers.with_hint(error) from error
        except KeyboardInterrupt:
            host.leave(ExitCode.INTERRUPTED)
        except SystemExit as error:  # SIGTERM and SIGHUP
            host.leave(error.code if isinstance(error.code, int) else ExitCode.FAILURE)


def serve_privately(chosen: ServeOptions, prepared: "Prepared", streams: "Streams") -> None:
    """Start the engine, and stay with it unless it is to run alone."""
    import time

    from tulu_cli.errors import DoesNotFit, EngineDied
    from tulu_cli.loading import order, servers
    from tulu_cli.render.talk import progress_on
    from tulu_cli.warm import starter

    begun = time.monotonic()
    keep_alive = servers.seconds(chosen.load.settings.get("keep_alive", "0"))
    asked = replace(
        order(prepared, keep_alive, leashed=not chosen.detach),
        environment=ray_environment(chosen),
    )
    try:
        with progress_on(streams) as progress:
            engine = starter.start(asked, progress)
    except DoesNotFit as error:
        raise servers.with_hint(error) from error
    name = engine.order.asked
    ready = (
        f"tulu: {name} is ready after {time.monotonic() - begun:.1f} s "
        f"({engine.order.identity.engine}, {engine.socket})"
    )
    if chosen.detach:
        streams.say(f"{ready}.")
        return
    if not starter.is_ours(engine):
        raise UsageError(f"{name} was warm already and stays so; tulu stop {name} ends it.")
    try:
        streams.say(f"{ready}; Ctrl-C ends it.")
        if not starter.stay_until_end(engine):
            raise EngineDied(f"The engine of {name} has died; tulu logs {name} shows its log.")
    except KeyboardInterrupt:
        starter.stop(engine)
        streams.say(f"tulu: stopped {name}.")
