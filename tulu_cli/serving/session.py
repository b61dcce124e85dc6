"""`tulu serve` from its options to its end: a script, a private engine, or a server on a port."""

import os
import time
from contextlib import suppress
from dataclasses import replace

from tulu_cli.engines.vllm.settings import invariance
from tulu_cli.errors import DoesNotFit, EngineDied, ExitCode, UsageError
from tulu_cli.loading import Prepared, order, prepare, servers, with_weights
from tulu_cli.machine import Machine
from tulu_cli.render.talk import progress_on
from tulu_cli.serving import host
from tulu_cli.serving.guard import Guard
from tulu_cli.serving.options import ServeOptions, check_combinations, check_engine
from tulu_cli.serving.public import KEY_VARIABLE, bound, public_arguments, read_key, url_of
from tulu_cli.serving.script import check_script, left_out, script_of
from tulu_cli.streams import Streams
from tulu_cli.warm import starter


def run(chosen: ServeOptions, streams: Streams, machine: Machine) -> None:
    """Serve. Raise TuluError; return when the engine is ready, or has ended."""
    check_combinations(chosen)
    if chosen.is_printed:
        check_script(chosen)
        for said in left_out(chosen):
            streams.say(f"tulu: {said}")
        streams.write(script_of(chosen, machine))
        return
    key = None if chosen.host is None else read_key(chosen.api_key_file, chosen.host)
    load = replace(chosen.load, engine_args=chosen.engine_args, no_server=True)
    prepared = prepare(load, machine, streams)
    check_engine(chosen, prepared.choice.engine, machine)
    prepared = with_weights(prepared, streams, purpose="server")
    if chosen.host is None:
        serve_privately(chosen, prepared, streams)
    elif prepared.choice.engine == "vllm":
        become_vllms_server(chosen, prepared, key)
    else:
        serve_on_port(chosen, prepared, key, streams)


def become_vllms_server(chosen: ServeOptions, prepared: Prepared, key: str | None) -> None:
    """Become vLLM's server: its own process, its own signals, its own exit code."""
    model = prepared.token_model()
    spec, address = model.spec, str(chosen.host)
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
    bound(address, chosen.port).close()  # that it can be had is known before vLLM is imported
    arguments = public_arguments(spec, address, chosen.port, model.files.ref.name)
    command = [*servers.host_command("vllm"), "--public", spec.name, spec.device, *arguments]
    environment = {**os.environ, **chosen.environment}
    environment |= invariance(spec.device, deterministic=spec.deterministic)
    environment.pop(KEY_VARIABLE, None)
    if key is not None:
        environment[KEY_VARIABLE] = key
    os.execve(command[0], command, environment)  # noqa: S606 (no shell is wanted)


def serve_on_port(
    chosen: ServeOptions, prepared: Prepared, key: str | None, streams: Streams
) -> None:
    """Load the engine in this process, and answer on a port until Ctrl-C or another signal."""
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


def serve_privately(chosen: ServeOptions, prepared: Prepared, streams: Streams) -> None:
    """Start the engine, and stay with it unless it is to run alone."""
    begun = time.monotonic()
    keep_alive = servers.seconds(chosen.load.settings.get("keep_alive", "0"))
    asked = order(prepared, keep_alive, leashed=not chosen.detach)
    asked = replace(asked, environment=chosen.environment)
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
