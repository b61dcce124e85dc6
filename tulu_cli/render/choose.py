"""Choose the renderer that shows an answer."""

import os
from dataclasses import asdict
from typing import Any

from tulu_cli.core import EngineInfo, Request, is_conversation
from tulu_cli.render import Renderer
from tulu_cli.render.collector import Collector, PlainRenderer
from tulu_cli.render.jsonl import JsonRenderer, TokenText
from tulu_cli.streams import Streams


def one_shot(
    streams: Streams,
    request: Request,
    info: EngineInfo,
    token_text: TokenText,
    *,
    as_json: bool,
    prefill: str | None,
    plain: bool = False,
) -> Renderer:
    """Return the renderer for the answer to one request, whose time begins now.

    On a terminal an answer is drawn as Markdown, unless it is `plain` or has a constraint.
    """
    sampling = request.sampling
    collector = Collector(sampling.n, prompt_tokens(request), sampling.seed)
    if not as_json:
        return text(streams, collector, plain=plain or sampling.constraint is not None)
    if is_conversation(request.prompt):  # the server has more parameters than it is told
        open_ones = request.unchosen - {"seed"}
        untold = dict.fromkeys(("top_k", "min_p", "repetition_penalty", *open_ones))
        extra: dict[str, Any] = {"prompt_token_ids": None, "prefill": prefill}
        extra["sampling"] = asdict(sampling) | untold
    else:
        extra = {"prompt_token_ids": list(request.prompt_token_ids), "prefill": prefill}
    return JsonRenderer(streams, collector, info, sampling, token_text, extra)


def chat(streams: Streams, request: Request, *, plain: bool) -> Renderer:
    """Return the renderer for one answer of a chat, whose time begins now."""
    sampling = request.sampling
    collector = Collector(1, prompt_tokens(request), sampling.seed)
    return text(streams, collector, plain=plain)


def prompt_tokens(request: Request) -> int | None:
    """Return how many tokens the prompt has, or None if only the server knows."""
    return None if is_conversation(request.prompt) else len(request.prompt)


def text(streams: Streams, collector: Collector, *, plain: bool) -> Renderer:
    """Return the renderer for a text: plain in a pipe and on a terminal that cannot draw."""
    if plain or not streams.stdout_tty or os.environ.get("TERM", "dumb") == "dumb":
        return PlainRenderer(streams, collector)
    from tulu_cli.render.pretty import PrettyRenderer  # a pipe has no use for its patterns

    return PrettyRenderer(streams, collector)
