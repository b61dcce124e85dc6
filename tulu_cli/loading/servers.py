"""From settings to an engine in another process: one that runs already, or one that is to stay."""

import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli import __version__
from tulu_cli.core import Constraint, EngineInfo
from tulu_cli.disk import reading
from tulu_cli.engines.base import EngineSpec, none_answers, told_adapters, told_draft
from tulu_cli.engines.choose import FAKE, EngineChoice
from tulu_cli.errors import BadInput, DoesNotFit, EngineDied, EngineError, TuluError, UsageError
from tulu_cli.machine import Machine
from tulu_cli.models import Progress
from tulu_cli.models.draft import NONE
from tulu_cli.protocol.chat import CANNOT, cannot
from tulu_cli.protocol.errors import Refused
from tulu_cli.settings import Setting, Settings
from tulu_cli.text import listed, one_line, shown
from tulu_cli.warm.endpoint import Address, ChatServer, Endpoint, leased
from tulu_cli.warm.finder import Wanted, is_same_model, mismatch, warm_engines
from tulu_cli.warm.record import Identity, LaunchOrder, fingerprint

if TYPE_CHECKING:
    from tulu_cli.engines.remote.wire import Wire


# How a model is loaded: the fields of EngineSpec that make two engines different ones.
_SETTINGS = (
    "dtype",
    "quantization",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "max_model_len",
    "device",
    "trust_remote_code",
    "deterministic",
    "engine_args",
)
_ATTEMPTS = 3
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MODULES = {"vllm": "tulu_cli.serving.vllm_server"}


def seconds(text: str, option: str = "--keep-alive") -> float:
    """Return a time such as 90, 30s, 10m or 2h in seconds. Raise UsageError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if match is None or not math.isfinite(float(match[1])):
        raise UsageError(f"{option} takes a time such as 30s, 10m or 2h, not {text!r}.")
    return float(match[1]) * _UNITS[match[2]]


def find(
    spec: EngineSpec, settings: Settings, machine: Machine, say: Callable[[str], None]
) -> Endpoint | None:
    """Return a warm engine of this user that may answer in place of `spec`, with a lease on it.

    One that holds the same model but differs in what was asked for is mentioned, and not used.
    """
    running = warm_engines()
    if not running:
        return None
    wanted = wanted_of(spec, settings, machine)
    for warm in running:
        if wanted.engine == "auto" and warm.order.identity.engine == FAKE:
            continue  # it answers nothing that was asked
        if not is_same_model(warm, wanted):
            continue
        difference = mismatch(warm, wanted)
        if difference is None and (endpoint := leased(warm)) is not None:
            return endpoint
        if difference is not None:
            say(
                f"tulu: the warm engine of {warm.order.asked} is not used: {difference}; "
                f"tulu stop {warm.order.asked} ends it."
            )
    return None


def wanted_of(spec: EngineSpec, settings: Settings, machine: Machine) -> Wanted:
    """Return what this command needs of a warm engine: only what was set is insisted on."""
    given = {name for name in _SETTINGS if name in settings.values}
    switches = ("trust_remote_code", "deterministic", "engine_args")
    given |= {name for name in switches if getattr(spec, name)}
    insisted = {name: _plain(getattr(spec, name)) for name in given} | _adapters(spec)
    insisted |= _insisted_draft(spec, settings)
    return Wanted(
        model=spec.name,
        directory=str(spec.directory),
        files=fingerprint(spec.directory),
        engine=settings.get("engine", "auto"),
        settings=insisted,
        versions=_versions(machine),
    )


def order_of(
    spec: EngineSpec,
    engine: str,
    machine: Machine,
    *,
    asked: str,
    end_token_ids: tuple[int, ...],
    keep_alive: float,
    leashed: bool = False,
) -> LaunchOrder:
    """Return what tells a supervisor to hold this model, whose weights `spec` has on the disk."""
    identity = Identity(
        model=spec.name,
        directory=str(spec.directory),
        revision=spec.revision,
        files=fingerprint(spec.directory),
        engine=engine,
        settings={name: _plain(getattr(spec, name)) for name in _SETTINGS}
        | _adapters(spec)
        | ({"draft": told_draft(spec.draft)} if spec.draft else {}),
        versions=_versions(machine),
    )
    return LaunchOrder(
        identity=identity,
        asked=asked,
        command=host_command(engine),
        end_token_ids=end_token_ids,
        keep_alive=keep_alive,
        leashed=leashed,
    )


def _adapters(spec: EngineSpec) -> dict[str, Any]:
    return {"adapters": told_adapters(spec)} if spec.adapters else {}


def _insisted_draft(spec: EngineSpec, settings: Settings) -> dict[str, Any]:
    """Return the draft that a warm engine must have: a value of None is for none at all."""
    if spec.draft is None:
        return {"draft": None} if settings.get("draft") == NONE else {}
    told = told_draft(spec.draft)
    if "draft_tokens" not in settings.values:
        del told["tokens"]
    return {"draft": told}


def host_command(engine: str) -> tuple[str, ...]:
    """Return the command that serves an engine; the supervisor adds the folder to it."""
    # -P: no module of the working directory may take the place of one of ours.
    return (sys.executable, "-P", "-m", _MODULES.get(engine, "tulu_cli.serving.host"))


def start(order: LaunchOrder, progress: Progress) -> Endpoint:
    """Start the engine of an order, and return it ready, with a lease on it.

    Raise what loading it raises, and EngineError if it keeps exiting.
    """
    from tulu_cli.warm import starter

    for _ in range(_ATTEMPTS):
        engine = starter.start(order, progress)
        if (endpoint := leased(engine)) is not None:
            return endpoint
        starter.wait_until_gone(engine.folder)  # it is being unloaded
    raise EngineError(f"The engine of {order.asked} ends as soon as it is ready.")


def at_url(
    url: str,
    key_variable: str | None,
    asked: str | None = None,
    *,
    in_flight: int | None = None,
) -> Endpoint | ChatServer:
    """Return the server at a URL, after asking it for its models.

    vLLM, or a server of ours, takes token ids; any other is given messages. Of several models it is
    the one that is `asked` for by the server's name or by where it was loaded from. A batch gives
    it `in_flight` requests at a time, as many as it takes if that is None. Raise UsageError for a
    key variable that is not set, or where a choice is left, EngineError where no such server
    answers.
    """
    from tulu_cli.engines.remote.wire import Wire
    from tulu_cli.protocol.chat import model_names

    key = None if key_variable is None else os.environ.get(key_variable)
    if key_variable is not None and not key:
        raise UsageError(f"--api-key-env {key_variable}: that variable is not set, or empty.")
    told = _models(Wire(Address(url=url, api_key=key), {}))
    other = ChatServer(url=url, api_key=key, models=model_names(told), in_flight=in_flight)
    try:
        rows = [row for row in told["data"] if row.get("id")]
        owner = rows[0].get("owned_by")
        if owner not in ("vllm", "tulu"):
            return other
        row = _row_of(rows, asked, url)
        base = next((one for one in rows if one["id"] == row.get("parent")), row)
        limit = int(row.get("max_model_len") or base["max_model_len"])
        name, root = str(row["id"]), _root(base)
    except (LookupError, TypeError, ValueError, AttributeError):
        return other
    info = EngineInfo("vllm" if owner == "vllm" else "tulu", name, None, url, "auto", limit, {})
    is_away = root.startswith("/") and not os.path.isdir(root)
    known = str(base["id"]) if is_away else root
    # A base may stand there by several names, of which an adapter's parent is one.
    names = {one["id"] for one in rows if not one.get("parent") and _root(one) == _root(base)}
    adapters = tuple(str(one["id"]) for one in rows if one.get("parent") in names)
    away = root if is_away else None
    return Endpoint(
        info,
        url=url,
        api_key=key,
        root=known,
        away=away,
        adapters=adapters,
        in_flight=in_flight,
    )


def places_of(settings: Settings) -> tuple[str, ...]:
    """Return what the settings name by --server: URLs, and @FILE for those in a file."""
    return tuple(settings.get("server", ()))


def recorded_place(settings: Settings, url: str) -> str:
    """Return what a record has of the server that makes its prompts: the first that is named.

    Which one answers first, and which others do, is no matter. `url` is for a server that the
    settings do not name.
    """
    place, *_ = places_of(settings) or (url,)
    return bare(place)


def bare(place: str) -> str:
    """Return a server's URL as it is compared: with no slash and no /v1 at its end."""
    return place.rstrip("/").removesuffix("/v1")


def are_several(settings: Settings) -> bool:
    """Return True where more than one server is named, or a file in which there may be."""
    places = places_of(settings)
    return len(places) > 1 or any(place.startswith("@") for place in places)


def urls_in(places: Sequence[str]) -> tuple[str, ...]:
    """Return the URLs that are named, each once. Raise BadInput for a file that cannot be read."""
    found: dict[str, None] = {}
    for place in places:
        found |= dict.fromkeys(_read(place) if place.startswith("@") else (place,))
    return tuple(found)


def _read(place: str) -> list[str]:
    """Return the URLs in the file of an @FILE: one a line; # begins a comment."""
    path = Path(place[1:])
    with reading(repr(str(path))):
        text = path.read_text(encoding="utf-8", errors="replace")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return list(filter(None, lines))


def first_that_answers(
    places: Sequence[str],
    key_variable: str | None,
    asked: str | None,
    *,
    in_flight: int | None = None,
) -> Endpoint | ChatServer:
    """Return the first server that answers, as `at_url` does; raise what that raises.

    Raise EngineDied where several are named and none answers, BadInput where a file names none.
    """
    urls = urls_in(places)
    if not urls:
        raise BadInput(f"{shown(places[0][1:])} names no server: it takes one URL a line.")
    reasons: list[TuluError] = []
    for url in urls:
        try:
            return at_url(url, key_variable, asked, in_flight=in_flight)
        except (EngineDied, Refused) as error:
            if isinstance(error, Refused) and not error.may_pass:
                raise
            reasons.append(error)
    raise none_answers(reasons, "server")


def _root(row: Mapping[str, Any]) -> str:
    return str(row.get("root") or row["id"])


def _row_of(rows: Sequence[Mapping[str, Any]], asked: str | None, url: str) -> Mapping[str, Any]:
    """Return what is told of the model that is meant: the one asked for, or the only one.

    A model may stand there by several names, and each adapter (LoRA) stands beside its base, its
    parent. Raise UsageError if a choice is left.
    """
    bases = [row for row in rows if not row.get("parent")] or rows
    for row in (*rows, *bases):
        if asked is not None and asked in (row["id"], row.get("root")):
            return row
    if len(set(map(_root, bases))) > 1:
        names = tuple(str(row["id"]) for row in rows)
        raise UsageError(f"The server at {url} has several models: -m takes {listed(names)}.")
    return bases[0]


def check_model(
    endpoint: Endpoint, spec: EngineSpec, *, is_path: bool = False, say: Callable[[str], None]
) -> None:
    """Raise UsageError if a server runs another model than the one whose tokens it is given.

    A path that the user named is believed where the server's own files are out of sight, and
    otherwise where it ends as the name that the server loaded; if it ends otherwise, that is said.
    """
    if {spec.name, str(spec.directory)} & {endpoint.info.model, endpoint.root}:
        return
    loaded = endpoint.away or endpoint.root or endpoint.info.model
    is_alike = _end(loaded) == _end(spec.name)
    if is_path and endpoint.away is not None and not is_alike:
        say(f"tulu: the server loaded {one_line(loaded)}; the tokenizer is that of {spec.name}.")
    if is_path and (endpoint.away is not None or is_alike):
        return
    raise UsageError(
        f"The server at {endpoint.url} runs {endpoint.info.model}, not {spec.name}: leave -m "
        f"out, or start it with --served-model-name {spec.name} if that is what it is."
    )


def _end(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def without_tokenizer(endpoint: Endpoint, say: Callable[[str], None]) -> ChatServer:
    """Return a server that makes the prompt itself, as its tokenizer is not here; say so."""
    name = one_line(endpoint.away or endpoint.root or endpoint.info.model)
    say(
        f"tulu: the tokenizer of {name} is not here, so the server makes the prompt; "
        "-m DIRECTORY names one that is."
    )
    return ChatServer(
        url=endpoint.url,
        api_key=endpoint.api_key,
        models=(endpoint.info.model,),
        in_flight=endpoint.in_flight,
    )


def _models(wire: "Wire") -> Any:
    """Return what a server says of its models, or None if it does not have the route."""
    try:
        return wire.get("/v1/models")
    except Refused as refused:
        if refused.status in (404, 405, 501):
            return None
        raise


def with_hint(error: DoesNotFit) -> DoesNotFit:
    """Return the error with how to stop the warm engines that take memory, if there are any."""
    held = ", ".join(dict.fromkeys(warm.order.asked for warm in warm_engines()))
    if not held:
        return error
    return DoesNotFit(f"{error} Kept warm meanwhile: {held}; tulu stop NAME frees the memory.")


def choice_for(server: Endpoint | ChatServer, reason: str) -> EngineChoice:
    """Return the choice of an engine that runs elsewhere."""
    if isinstance(server, ChatServer):
        return EngineChoice("remote.chat", (("server", reason),))
    return EngineChoice("remote.tokens", ((server.info.engine, reason),))


def _versions(machine: Machine) -> dict[str, str]:
    """Return the releases that an engine's answers may depend on, which Ray's is not among."""
    packages = {name: value for name, value in machine.packages.items() if name != "ray"}
    return {"tulu": __version__, **packages}


def _plain(value: Any) -> Any:
    """Return a setting as it is written down and read back."""
    return dict(value) if isinstance(value, Mapping) else value


_SAMPLING = ("top_k", "min_p", "repetition_penalty", "max_reasoning_tokens")
_OFF = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "max_reasoning_tokens": None}
# Where a model's name comes from when it is meant for this server, and for no engine here.
_MEANT = ("flag", "/model")


def meant_model(server: Endpoint, settings: Settings) -> str | None:
    """Return the model that was named for this server, other than by the server's own name."""
    asked = settings.values.get("model")
    if asked is None or asked.origin not in _MEANT:
        return None
    name = settings.aliases.get(asked.value, asked.value)
    return None if server.info.model in (asked.value, name) else str(asked.value)


def chosen_model(endpoint: ChatServer, settings: Settings) -> str:
    """Return the server's name of the model that is asked for, or of the only one that it has.

    Raise UsageError if that leaves a choice.
    """
    asked, models = settings.values.get("model"), endpoint.models
    if asked is not None:
        name = settings.aliases.get(asked.value, asked.value)
        if asked.origin in _MEANT or name in models:
            return str(name)
    if len(models) == 1:
        return models[0]
    if not models:
        raise UsageError(f"The server at {endpoint.url} lists no models: name one with -m.")
    raise UsageError(f"The server at {endpoint.url} has several models: -m takes {listed(models)}.")


def applicable(settings: Settings, url: str | None, say: Callable[[str], None]) -> Settings:
    """Return the settings without the sampling that the server cannot be told, and say which.

    Raise UsageError for what was asked for on the command line.
    """
    for name in CANNOT:
        if settings.is_flag(name):
            raise cannot(name, url)
    left_out = {name: settings.values[name] for name in _SAMPLING if name in settings.values}
    for name, setting in left_out.items():
        if setting.value != _OFF[name]:
            say(f"tulu: {name} = {setting.value} ({setting.origin}) is left out: {CANNOT[name]}.")
    return replace(settings, values=without(settings.values, left_out))


def refuse(options: Mapping[str, object], constraint: Constraint | None, url: str | None) -> None:
    """Raise UsageError for the first of these options, by name, that was given."""
    for name in filter(options.get, options):
        raise cannot(name, url)
    if constraint is not None and constraint.kind in CANNOT:
        raise cannot(constraint.kind, url)


def without(values: Mapping[str, Setting], names: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the values of all other names."""
    return {name: setting for name, setting in values.items() if name not in names}
