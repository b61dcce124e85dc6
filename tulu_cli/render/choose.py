"""Choose the renderer that shows an answer."""

import os
from dataclasses import asdict
from typing import Any

from tulu_cli.core import EngineInfo, Request, is_conversation
from tulu_cli.render import Renderer
from tulu_cli.render.collector import Collector, PlainRenderer
from tulu_cli.render.jsonl import JsonRenderer, TokenText
from tulu_cli.render.thoughts import Reasoning, SpokenThought
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
    reasoning: Reasoning | None = None,
) -> Renderer:
    """Return the renderer for the answer to one request, whose time begins now.

    On a terminal an answer is drawn as Markdown, unless it is `plain` or has a constraint, and the
    thought before it is shown, unless `reasoning` says otherwise.
    """
    sampling = request.sampling
    collector = Collector(sampling.n, prompt_tokens(request), sampling.seed)
    if not as_json:
        plain = plain or sampling.constraint is not None
        return text(streams, collector, plain=plain, reasoning=reasoning)
    if is_conversation(request.prompt):  # the server has more parameters than it is told
        open_ones = request.unchosen - {"seed"}
        untold = dict.fromkeys(("top_k", "min_p", "repetition_penalty", *open_ones))
        extra: dict[str, Any] = {"prompt_token_ids": None, "prefill": prefill}
        extra["sampling"] = asdict(sampling) | untold
    else:
        extra = {"prompt_token_ids": list(request.prompt_token_ids), "prefill": prefill}
    if request.adapter is not None:
        extra["adapter"] = request.adapter
    return JsonRenderer(streams, collector, info, sampling, token_text, extra)


def chat(
    streams: Streams, request: Request, *, plain: bool, reasoning: Reasoning | None = None
) -> Renderer:
    """Return the renderer for one answer of a chat, whose time begins now."""
    sampling = request.sampling
    collector = Collector(1, prompt_tokens(request), sampling.seed)
    return text(streams, collector, plain=plain, reasoning=reasoning)


def prompt_tokens(request: Request) -> int | None:
    """Return how many tokens the prompt has, or None if only the server knows."""
    return None if is_conversation(request.prompt) else len(request.prompt)


def text(
    streams: Streams, collector: Collector, *, plain: bool, reasoning: Reasoning | None = None
) -> Renderer:
    """Return the renderer for a text: plain in a pipe and on a terminal that cannot draw.

    A thought is hidden in a pipe if `reasoning` is None.
    """
    if reasoning == "only":
        return PlainRenderer(streams, collector, channel="thought")
    is_shown = reasoning == "show" or (reasoning is None and streams.stdout_tty)
    if plain or not streams.stdout_tty or os.environ.get("TERM", "dumb") == "dumb":
        return PlainRenderer(streams, collector, SpokenThought(streams) if is_shown else None)
    # A pipe has no use for their patterns.
    from tulu_cli.render.folded import FoldedThought
    from tulu_cli.render.pretty import PrettyRenderer

    return PrettyRenderer(streams, collector, FoldedThought(streams) if is_shown else None)
