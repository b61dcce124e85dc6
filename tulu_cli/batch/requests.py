"""`tulu batch`: a row of the input as a request, with the settings that it is answered with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from tulu_cli.batch.lines import digest
from tulu_cli.core import Request, ScoreRequest, is_conversation
from tulu_cli.errors import BadInput
from tulu_cli.loading import ChatModel, Prepared, TokenModel
from tulu_cli.loading.servers import recorded_place
from tulu_cli.prompt.chat import NOTHING
from tulu_cli.prompt.inspect.writer import PromptWriter
from tulu_cli.prompt.score import encode_answer, encode_completion, encode_reply
from tulu_cli.prompt.thinking import check_variables, no_thoughts
from tulu_cli.protocol.sampling import read_logit_bias
from tulu_cli.request.inputs import well_formed
from tulu_cli.request.request import check_drafting, request_maker
from tulu_cli.request.sampling import advised, decide, unchosen
from tulu_cli.settings import KEYS, Setting, Settings

if TYPE_CHECKING:
    from tulu_cli.batch.options import BatchOptions
    from tulu_cli.batch.rows import Row

_KEYS = {key.name: key for key in KEYS if key.table == "sampling"}
_LIMIT = "max_reasoning_tokens"
_OWN = ("stop", "n", "ignore_eos", "logit_bias", "constraint")
_NAMES = {"max_completion_tokens", *_KEYS, *_OWN}
# As older outputs have them in their identity.
_ENGINE_NAMES = {"remote.tokens": "remote", "remote.chat": "chat_completions"}


def row_requests(chosen: "BatchOptions", prepared: Prepared) -> "Callable[[Row], Request]":
    """Return the function that makes a row's request. It raises BadInput or UsageError."""
    maker = request_maker(
        prepared,
        allow_special=chosen.allow_special,
        strict_roles=chosen.strict_roles,
        variables=chosen.variables,
    )
    generation, common = prepared.model.generation_config, _common(chosen)

    def make(row: "Row") -> Request:
        settings, own = override(prepared.settings, row.sampling)
        sampling = decide(with_seed(settings, row), generation, **{**common, **own})
        if isinstance(row.prompt, str):
            made = maker.completion(row.prompt, sampling)
            return _checked(made, row)
        made = maker.answer(
            maker.conversation(row.prompt),
            sampling,
            unchosen=unchosen(settings),
            continue_final=row.continue_final,
            variables=row.kwargs,
            tools=row.tools,
        )
        return _checked(made, row)

    return make


def _common(chosen: "BatchOptions") -> dict[str, Any]:
    """Return the parameters of a row that are not settings, for rows without their own."""
    return {
        "stop": tuple(well_formed(text, "--stop") for text in chosen.stop),
        "n": chosen.n,
        "ignore_eos": chosen.ignore_eos,
        "logit_bias": chosen.logit_bias,
        "constraint": chosen.constraint,
        "logprobs": chosen.logprobs,
    }


def check_sampling(
    chosen: "BatchOptions", prepared: Prepared, own: Mapping[str, Any] = NOTHING
) -> None:
    """Raise UsageError for sampling that a draft cannot do, before an engine is loaded for it.

    `own` are the values of the first row: those of others are checked with each. Raise BadInput for
    one that its parameter does not take. Scoring samples nothing.
    """
    if chosen.score or not isinstance(prepared.model, TokenModel):
        return
    settings, others = override(prepared.settings, own)
    common = {**_common(chosen), **others}
    check_drafting(prepared.model, decide(settings, prepared.model.generation_config, **common))


def _checked(made: Request, row: "Row") -> Request:
    """Return a row's request. Raise UsageError for a limit of its thought where none can come."""
    may_think = made.thoughts is not None or is_conversation(made.prompt) or row.continue_final
    if _LIMIT in row.sampling and not may_think:
        raise no_thoughts(f"sampling.{_LIMIT}")
    return made


def row_scores(chosen: "BatchOptions", prepared: Prepared) -> "Callable[[Row], list[ScoreRequest]]":
    """Return the function that makes the requests for a row's completions. It raises BadInput."""
    model = prepared.token_model()
    tokenizer = model.tokenizer
    maker = request_maker(prepared)
    check_variables(tokenizer, chosen.variables)
    writer = PromptWriter(
        tokenizer,
        kwargs=chosen.variables,
        allow_special=chosen.allow_special,
        strict_roles=chosen.strict_roles,
    )

    def with_adapter(request: ScoreRequest) -> ScoreRequest:
        return replace(request, adapter=model.adapter)

    def make(row: "Row") -> list[ScoreRequest]:
        if isinstance(row.prompt, str):
            text = row.prompt
            return [
                with_adapter(encode_completion(tokenizer, text, one.content))
                for one in row.completions
            ]
        messages = maker.conversation(row.prompt)
        own = writer
        if row.kwargs or row.tools:
            own = replace(writer, kwargs={**chosen.variables, **row.kwargs}, tools=row.tools)
        answered = [(*messages, one) for one in row.completions]
        if chosen.no_end:
            made = [encode_reply(tokenizer, own, each) for each in answered]
        else:
            made = [encode_answer(tokenizer, own, each, model.end_token_ids) for each in answered]
        return list(map(with_adapter, made))

    return make


def with_seed(settings: Settings, row: "Row") -> Settings:
    """Return the settings with a seed that follows from the row and its line, unless one is set.

    The same file is so answered in the same way again, and equal rows differ.
    """
    seed = Setting((row.digest + 0x9E3779B97F4A7C15 * row.line) % 2**31, "row")
    return replace(settings, values={"seed": seed, **settings.values})


def override(settings: Settings, sampling: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Return the settings with a row's own values, and the values that are not settings.

    Raise BadInput for a value that its parameter does not take.
    """
    values, own = {}, {}
    for name, value in sampling.items():
        if name in _KEYS:
            key = _KEYS[name]
            given = float(value) if key.kind is float and type(value) is int else value
            _refuse(key.problem(given), name)
            values[name] = Setting(given, "row")
        elif name in _OWN:
            own[name] = _own(name, value)
        else:
            known = ", ".join((*_KEYS, *_OWN[:-1]))
            raise BadInput(f"sampling.{name} is unknown: a row can set {known}.")
    return (replace(settings, values={**settings.values, **values}) if values else settings), own


def misplaced(row: "Row", *, has_template: bool) -> list[str]:
    """Return the columns of a row that have the names of sampling parameters, and are only copied.

    A template may have made the prompt of them.
    """
    return [] if has_template else sorted(_NAMES & row.columns.keys())


def _own(name: str, value: Any) -> Any:
    if name == "stop":
        texts = [value] if isinstance(value, str) else value
        fits = isinstance(texts, list) and all(text and isinstance(text, str) for text in texts)
        _refuse(None if fits else "takes a text or a list of texts.", name)
        return tuple(texts)
    if name == "logit_bias":
        try:
            return read_logit_bias(value)
        except BadInput as error:
            raise BadInput(f"sampling.{error}") from error
    if name == "n":
        fits = type(value) is int and 1 <= value <= 1024
        _refuse(None if fits else "takes a whole number from 1 to 1024.", name)
    if name == "ignore_eos":
        _refuse(None if type(value) is bool else "takes true or false.", name)
    return value


def _refuse(problem: str | None, name: str) -> None:
    if problem:
        raise BadInput(f"sampling.{name} {problem}")


def identity(chosen: "BatchOptions", prepared: Prepared) -> int:
    """Return a hash of all that an answer depends on beside its row.

    A run that goes on with an output must have the one that the output was begun with.
    """
    model, settings = prepared.model, prepared.settings
    loaded = model.spec if isinstance(model, TokenModel) else None
    given = {name: settings.get(name) for name in _KEYS if name in settings.values}
    answers: dict[str, Any] = {
        "model": model.name,
        "revision": loaded and loaded.revision,
        "engine": _ENGINE_NAMES.get(prepared.choice.engine, prepared.choice.engine),
        "dtype": loaded.dtype if loaded else "auto",
        "quantization": loaded and loaded.quantization,
        "max_model_len": model.max_model_len or 0,
        "system": model.system_prompt(settings),
        "sampling": advised(model.generation_config) | given,
        "stop": chosen.stop,
        "n": chosen.n,
        "ignore_eos": chosen.ignore_eos,
        "constraint": chosen.constraint and asdict(chosen.constraint),
        "allow_special": chosen.allow_special,
        "format": chosen.input_format,
        "template": chosen.template and chosen.template.pieces,
        "output_format": chosen.output_format,
        "engine_args": chosen.load.engine_args,
    }
    if isinstance(model, ChatModel):
        answers["server"] = recorded_place(prepared.options.settings, model.place)
    used = {
        "adapter": adapter_identity(model) if isinstance(model, TokenModel) else None,
        "draft": loaded and loaded.draft and [loaded.draft.name, loaded.draft.tokens],
        "chat_template_kwargs": chosen.variables or None,
        "logprobs": chosen.logprobs,
        "logit_bias": {str(token): bias for token, bias in chosen.logit_bias.items()} or None,
        "strict_roles": chosen.strict_roles or None,
        "verify": chosen.verify and chosen.verify.rule,
        "deterministic": chosen.load.deterministic or None,
        "score": chosen.score or None,
        "no_end": chosen.no_end or None,
    }
    # Nothing of what is not used, so that an older output can still be gone on with.
    answers |= {name: value for name, value in used.items() if value is not None}
    if chosen.score:
        answers["sampling"] = None
    return digest(json.dumps(answers, sort_keys=True, default=str).encode())


def adapter_identity(model: TokenModel) -> list[str] | None:
    """Return the name and the hash of the adapter that answers, None for the model alone."""
    if model.adapter is None:
        return None
    held = (one.content_hash() for one in model.spec.adapters if one.name == model.adapter)
    return [model.adapter, *held]
