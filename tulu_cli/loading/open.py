"""Load what `prepare` has decided: fetch the weights, ask the planner, start or reach an engine."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Literal

from tulu_cli.engines import choose
from tulu_cli.engines.base import Engine
from tulu_cli.errors import DoesNotFit
from tulu_cli.loading import servers
from tulu_cli.loading.adapters import check_adapters
from tulu_cli.loading.drafts import with_weights_of_draft
from tulu_cli.loading.fits import refusal
from tulu_cli.loading.prepare import (
    ChatModel,
    Prepared,
    TokenModel,
    answered_by,
)
from tulu_cli.models import Progress, locate
from tulu_cli.render.talk import progress_on, status
from tulu_cli.streams import Streams
from tulu_cli.warm.record import LaunchOrder

Purpose = Literal["one-shot", "server", "scoring"]


@contextmanager
def open_engine(
    prepared: Prepared, streams: Streams, *, purpose: Purpose = "one-shot"
) -> Iterator[Engine]:
    """Have the model's engine loaded inside. Raise what fetching and loading raise.

    Where several servers are named, they are one engine for what has many requests.
    """
    settings, no_server = prepared.options.settings, prepared.options.no_server
    if purpose != "one-shot" and not no_server and servers.are_several(settings):
        from tulu_cli.loading.several import opened

        with opened(prepared) as fleet:
            yield fleet
        return
    with closing(load_engine(with_weights(prepared, streams, purpose=purpose), streams)) as engine:
        yield engine


def with_weights(
    prepared: Prepared, streams: Streams, *, purpose: Purpose = "one-shot"
) -> Prepared:
    """Point `prepared` at the model's weights, fetched if need be.

    Raise what `locate` raises, and, unless forced, DoesNotFit or NoEngine where the planner is sure
    that they cannot be loaded.
    """
    model = prepared.model
    if not isinstance(model, TokenModel):
        return prepared
    # Where nothing is generated, nothing is drafted either.
    draft = None if purpose == "scoring" else model.spec.draft
    model = replace(model, spec=replace(model.spec, purpose=purpose, draft=draft))
    prepared = replace(prepared, model=model)
    if model.spec.server is not None:
        return prepared
    with progress_on(streams) as progress:
        return _fetched(prepared, model, progress)


def load_engine(prepared: Prepared, streams: Streams) -> Engine:
    """Load the weights, here or in a process that stays. Raise what the engine raises."""
    model = prepared.model
    if isinstance(model, ChatModel):
        return choose.load(prepared.choice, model.served)
    try:
        with progress_on(streams) as progress, status(streams, _loading(prepared)):
            if model.keep_alive and model.spec.server is None:
                endpoint = servers.start(order(prepared, model.keep_alive), progress)
                prepared = answered_by(prepared, model, endpoint, "started to stay warm")
            return choose.load(prepared.choice, prepared.token_model().spec)
    except DoesNotFit as error:
        raise servers.with_hint(error) from error


def order(prepared: Prepared, keep_alive: float, *, leashed: bool = False) -> LaunchOrder:
    """Return what tells a supervisor to hold this model for so many idle seconds."""
    model = prepared.token_model()
    return servers.order_of(
        model.spec,
        prepared.choice.engine,
        prepared.machine,
        asked=model.files.ref.name,
        end_token_ids=model.end_token_ids,
        keep_alive=keep_alive,
        leashed=leashed,
    )


def _fetched(prepared: Prepared, model: TokenModel, progress: Progress) -> Prepared:
    options = prepared.options
    if not options.force:
        _require_memory(prepared, model)
    ref = model.files.ref
    files = locate(ref, offline=options.offline, progress=progress, say=prepared.say)
    check_adapters(model.spec.adapters, files)
    spec = replace(model.spec, directory=files.directory, revision=files.revision)
    spec = with_weights_of_draft(spec, options.settings, offline=options.offline, progress=progress)
    return replace(prepared, model=replace(model, files=files, spec=spec))


def _loading(prepared: Prepared) -> str:
    """Return what to say while loading; nothing where its own progress says it."""
    model = prepared.token_model()
    if model.spec.server is not None or model.keep_alive:
        return ""
    return f"Loading {model.name} with {prepared.choice.engine} ..."


def _require_memory(prepared: Prepared, model: TokenModel) -> None:
    """Ask the planner before fetching the weights. Raise DoesNotFit or NoEngine if it is sure."""
    engine = prepared.choice.engine
    if sentence := refusal(model.spec, model.files.config, engine, prepared.machine):
        error = DoesNotFit(sentence)
        raise servers.with_hint(error) if prepared.machine.gpus else error
