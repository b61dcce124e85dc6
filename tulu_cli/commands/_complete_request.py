"""`tulu complete`: from what was given to the request that an engine takes."""

from tulu_cli.commands._complete_options import CompleteOptions
from tulu_cli.core import Conversation, Request
from tulu_cli.engines.base import bounded
from tulu_cli.engines.prompts import chat_ids, raw_ids
from tulu_cli.inputs import conversation, empty_prompt, user_text, well_formed, with_system
from tulu_cli.launch import Prepared, system_prompt
from tulu_cli.sampling import decide


def make_request(chosen: CompleteOptions, prepared: Prepared, data: bytes | None) -> Request:
    """The prompt's token ids with the sampling. Raises BadInput, UsageError or PromptTooLong."""
    sampling = decide(
        chosen.settings,
        prepared.files.generation_config,
        stop=tuple(well_formed(text, "--stop") for text in chosen.stop),
        n=chosen.n,
        logprobs=chosen.logprobs,
        ignore_eos=chosen.ignore_eos,
        constraint=chosen.constraint,
    )
    if prepared.takes_messages:
        return Request((), sampling, conversation=make_conversation(chosen, prepared, data))
    if chosen.raw:
        text = user_text(chosen.given, data)
        if not text:
            raise empty_prompt()
        ids = raw_ids(prepared.spec, text)
    else:
        ids = chat_ids(
            prepared.spec,
            make_conversation(chosen, prepared, data),
            continue_final=chosen.prefill is not None,
            allow_special=chosen.allow_special,
            strict_roles=chosen.strict_roles,
        )
    request = Request(ids, sampling, prepared.end_token_ids)
    return bounded(request, prepared.spec.max_model_len)


def make_conversation(
    chosen: CompleteOptions, prepared: Prepared, data: bytes | None
) -> Conversation:
    """The messages to answer, behind the system prompt that applies."""
    messages = conversation(chosen.given, data, chosen.prefill)
    system = system_prompt(chosen.settings, prepared.files)
    return with_system(messages, system, asked=chosen.settings.is_flag("system"))
