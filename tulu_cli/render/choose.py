"""Which renderer shows an answer."""

from tulu_cli.core import EngineInfo, Request
from tulu_cli.render import Renderer
from tulu_cli.render.collector import Collector
from tulu_cli.render.jsonl import JsonRenderer, TokenText
from tulu_cli.render.plain import PlainRenderer
from tulu_cli.streams import Streams


def one_shot(
    streams: Streams,
    request: Request,
    info: EngineInfo,
    token_text: TokenText,
    *,
    as_json: bool,
    prefill: str | None,
) -> Renderer:
    """The renderer for the answer to one request, whose time begins now."""
    sampling = request.sampling
    collector = Collector(sampling.n, len(request.prompt_token_ids), sampling.seed)
    if not as_json:
        return PlainRenderer(streams, collector)
    extra = {"prompt_token_ids": list(request.prompt_token_ids), "prefill": prefill}
    return JsonRenderer(streams, collector, info, sampling, token_text, extra)


def chat(streams: Streams, request: Request, *, plain: bool) -> Renderer:
    """The renderer for one answer of a chat, whose time begins now."""
    del plain  # there is no other yet
    sampling = request.sampling
    return PlainRenderer(streams, Collector(1, len(request.prompt_token_ids), sampling.seed))
