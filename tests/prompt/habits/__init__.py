"""Small chat templates of our own: each has one habit of a published family, and its tokens.

A template is the file of its name beside this module. What it reads, and what ends an answer, is
in the table; the tests are over all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken

from tests.prompt.synthetic import byte_level, write

_END_OF_TEXT = "<|endoftext|>"
_IM = (_END_OF_TEXT, "<|im_start|>", "<|im_end|>")
_PHI = ("<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|/tool|>", "<|end|>")
_IM_END = ("<|im_end|>",)
_END = ("<|end|>",)


@dataclass(frozen=True)
class Habit:
    """What a template reads, its control tokens, and what is to be known of its prompts.

    `takes` are words of: system, tools (schemas), calls (tool_calls that are shown), results (the
    role tool), parts, null (as content), thoughts (reasoning_content), documents, and odd (turns
    that need not alternate). `ends` are the tokens that end an answer, in their order; `last_ends`
    those of an answer at the end of the prompt, and `call_ends` those of a call of a tool, if they
    are others.

    The loss mask must be found where `masked`, and a plain conversation read back where `parsed`:
    some templates join or move what they are given, so that several conversations give one prompt.
    """

    controls: tuple[str, ...]
    ends: tuple[str, ...]
    takes: frozenset[str]
    eos: str
    bos: str | None
    last_ends: tuple[str, ...] | None
    call_ends: tuple[str, ...] | None
    masked: bool
    parsed: bool

    def ends_of(self, *, last: bool) -> tuple[str, ...]:
        """The tokens that end an answer."""
        return self.last_ends if last and self.last_ends is not None else self.ends


def _habit(
    takes: str = "system odd",
    controls: Iterable[str] = _IM,
    ends: tuple[str, ...] = _IM_END,
    eos: str = "<|im_end|>",
    *,
    bos: str | None = None,
    last_ends: tuple[str, ...] | None = None,
    call_ends: tuple[str, ...] | None = None,
    masked: bool = True,
    parsed: bool = True,
) -> Habit:
    """A row of the table; what is not said is as in ChatML."""
    named = (bos,) if bos else ()
    every = tuple(dict.fromkeys((*controls, eos, *named)))
    reads = frozenset(takes.split())
    return Habit(every, ends, reads, eos, bos, last_ends, call_ends, masked, parsed)


def _phi(takes: str = "system odd", *, bos: str | None = None, parsed: bool = True) -> Habit:
    return _habit(takes, _PHI, _END, "<|end|>", bos=bos, parsed=parsed)


_LLAMA3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_MISTRAL = (
    *("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CALLS]"),
    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
)
_GPT_OSS = (
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"),
    "<|constrain|>",
)
_KIMI = (
    *("<|im_system|>", "<|im_user|>", "<|im_assistant|>", "<|im_middle|>", "<|im_end|>"),
    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"),
    *("<|tool_call_argument_begin|>", "<|tool_call_end|>"),
)
_COMMAND = (
    *("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>"),
    *("<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    *("<|START_THINKING|>", "<|END_THINKING|>", "<|START_ACTION|>", "<|END_ACTION|>"),
    *("<|START_TOOL_RESULT|>", "<|END_TOOL_RESULT|>"),
)
_APERTUS = (
    *("<|system_start|>", "<|system_end|>", "<|user_start|>", "<|user_end|>"),
    *("<|assistant_start|>", "<|assistant_end|>"),
)
_CALLING = "system calls null results odd"

HABITS = {
    "tulu": _habit(
        "system results odd", ("<|begin_of_text|>",), ("<|end_of_text|>",), "<|end_of_text|>"
    ),
    "chatml": _habit("system results odd"),
    "chatml_default_system": _habit("system tools results odd"),
    "closed_if_followed": _habit("system results odd", last_ends=()),
    "olmo": _habit("system tools results odd", eos=_END_OF_TEXT, last_ends=(_END_OF_TEXT,)),
    "phi": _phi("system odd"),
    "llama2": _habit("system odd", ("<unk>",), ("</s>",), "</s>", bos="<s>"),
    "mistral": _habit(
        "system tools calls null results odd", _MISTRAL, ("</s>",), "</s>", bos="<s>"
    ),
    "llama3": _habit(
        "system tools calls null results odd",
        _LLAMA3,
        ("<|eot_id|>",),
        "<|eot_id|>",
        bos="<|begin_of_text|>",
    ),
    "gemma": _habit(
        "system",
        ("<start_of_turn>", "<end_of_turn>", "<eos>"),
        ("<end_of_turn>",),
        "<eos>",
        bos="<bos>",
        parsed=False,
    ),
    "qwen3": _habit(f"tools thoughts {_CALLING}"),
    "deepseek_r1": _habit(
        "system odd",
        ("<｜User｜>", "<｜Assistant｜>"),
        ("<｜end▁of▁sentence｜>",),
        "<｜end▁of▁sentence｜>",
        bos="<｜begin▁of▁sentence｜>",
    ),
    "keeping_thoughts": _habit("system thoughts results odd"),
    "gpt_oss": _habit(
        f"tools thoughts {_CALLING}",
        _GPT_OSS,
        _END,
        "<|return|>",
        last_ends=("<|return|>",),
        call_ends=("<|call|>",),
    ),
    "glm": _habit(
        "system tools calls results odd",
        ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        (),
        _END_OF_TEXT,
    ),
    "kimi": _habit(f"tools {_CALLING}", _KIMI),
    "minimax": _habit(f"thoughts {_CALLING}", ("]~!b[", "]~b]"), ("[e~[",), "[e~["),
    "command": _habit(
        f"thoughts {_CALLING}",
        _COMMAND,
        ("<|END_RESPONSE|>", "<|END_OF_TURN_TOKEN|>"),
        "<|END_OF_TURN_TOKEN|>",
        bos="<BOS_TOKEN>",
        call_ends=("<|END_ACTION|>", "<|END_OF_TURN_TOKEN|>"),
    ),
    "apertus": _habit(
        "system odd", _APERTUS, ("<|assistant_end|>",), "<|assistant_end|>", bos="<s>"
    ),
    "always_asking": _habit("system results odd"),
    "never_asking": _habit("system results odd", (), ("</s>",), "</s>", bos="<s>"),
    "parts_only": _habit("system parts odd", (*_IM, "<|image_pad|>"), masked=False, parsed=False),
    "parts_or_text": _habit("system parts odd"),
    "null_looked_at": _habit(_CALLING),
    "null_printed": _habit(_CALLING),
    "qwen3_coder": _habit(f"tools {_CALLING}"),
    "arguments_of_two_kinds": _habit(_CALLING),
    "tojson_options": _habit(f"tools {_CALLING}"),
    "macros": _habit(_CALLING),
    "namespaces": _habit("system results odd"),
    "generation_with_end": _habit(_CALLING),
    "generation_without_end": _phi("system odd", bos="<s>"),
    "set_blocks": _habit("system results odd", parsed=False),
    "selecting": _phi(f"tools {_CALLING}", bos="<s>", parsed=False),
    "formatting": _habit(_CALLING),
    "slices": _habit("system results odd", (*_IM, "<|quick|>")),
    "looking_around": _habit(_CALLING, parsed=False),
    "counting_turns": _phi("", bos="<s>"),
    "alpaca": _habit("system odd", (), (), "</s>", parsed=False),
    "vicuna": _habit("odd", (), ("</s>",), "</s>", bos="<s>"),
    "documents": _habit(
        "system documents odd", _COMMAND, ("<|END_OF_TURN_TOKEN|>",), "<|END_OF_TURN_TOKEN|>"
    ),
    "quoting_twice": _habit("system results odd", parsed=False),
    "system_last": _habit("system results odd", masked=False, parsed=False),
    "dropping_results": _phi("system results calls null odd", bos="<s>"),
    "tags": _habit(_CALLING),
}
NAMES = tuple(HABITS)


def source(name: str) -> str:
    """The Jinja source of a template."""
    return (Path(__file__).parent / f"{name}.jinja").read_text(encoding="utf-8")


def model(directory: Path, name: str) -> Path:
    """Write a model directory with the template, and a tokenizer that has its control tokens."""
    habit = HABITS[name]
    backend = byte_level(*(AddedToken(text, normalized=False) for text in habit.controls))
    named = {"bos_token": habit.bos} if habit.bos else {}
    return write(directory, backend, eos_token=habit.eos, chat_template=source(name), **named)
