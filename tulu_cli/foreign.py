"""A server that makes its own prompt: which of its models answers, and what it cannot be asked."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from tulu_cli.core import Constraint, EngineInfo
from tulu_cli.engines.chat_dialect import CANNOT, cannot, listed
from tulu_cli.errors import UsageError
from tulu_cli.server.endpoint import Endpoint
from tulu_cli.settings import Setting, Settings

_SAMPLING = ("top_k", "min_p", "repetition_penalty")
_OFF = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
# Where a model's name comes from when it is meant for this server, and for no engine here.
_MEANT = ("flag", "/model")


def endpoint_of(url: str, key: str | None, models: tuple[str, ...]) -> Endpoint:
    """The way to such a server, which lists these models. Nothing else is known of it."""
    info = EngineInfo("server", "", None, url, "unknown", 0, {})
    return Endpoint(info, url=url, api_key=key, takes_messages=True, models=models)


def chosen_model(endpoint: Endpoint, settings: Settings) -> str:
    """The server's name of the model that is asked for, or of the only one that it has.

    Raises UsageError where that leaves a choice.
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
    """The settings without the sampling that the server cannot be told, each of which is said.

    Raises UsageError for what was asked for on the command line.
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
    """Raises UsageError for the first of these options, by name, that was given."""
    for name in filter(options.get, options):
        raise cannot(name, url)
    if constraint is not None and constraint.kind in CANNOT:
        raise cannot(constraint.kind, url)


def without(values: Mapping[str, Setting], names: Mapping[str, Setting]) -> dict[str, Setting]:
    """The values of other names."""
    return {name: setting for name, setting in values.items() if name not in names}
