"""The options that several commands have, declared once: names, type, section and help.

Where vLLM or transformers has a name for an option, that name is the one, and ours is an alias.
"""

import json
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.errors import ExitCode, UsageError

# The sections of --help, in which `rich_help_panel` puts an option.
PROMPT, SAMPLING, STRUCTURE = "Prompt", "Sampling", "Structure"
OUTPUT, ENGINE, SERVER, OTHER = "Output", "Model and engine", "Server", "Other"

# What a command that asks a model can end with.
EXIT_CODES = {code.value: code.meaning for code in ExitCode}

if TYPE_CHECKING:
    from tulu_cli.loading import LoadOptions
    from tulu_cli.settings import Settings

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        help="The model: 8b, 70b or 405b (Tülu 3; add -sft or -dpo for an earlier stage), demo, "
        "org/name[@revision], a directory or a .gguf file.  [default: 8b if a GPU can hold it, "
        "else demo]",
        metavar="MODEL",
        rich_help_panel=ENGINE,
    ),
]
Adapter = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        help="Load an adapter (LoRA) beside the model, and answer with it: a directory, or "
        "org/name, with NAME= before it to call it so; repeatable, and the first answers.",
        metavar="DIR|org/name",
        rich_help_panel=ENGINE,
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        "-s",
        "--system",
        "--system-prompt",
        help="System prompt: a text, a name from the settings, tulu (the prompt of Ai2's demo) or "
        "none.  [default: tulu for Tülu models, else none]",
        metavar="SYSTEM",
        rich_help_panel=PROMPT,
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        "--max-new-tokens",
        help="Generate at most N tokens.  [default: up to the context length]",
        metavar="N",
        rich_help_panel=SAMPLING,
    ),
]
MaxReasoningTokens = Annotated[
    int | None,
    typer.Option(
        help="Close the thought after N tokens, and go on to the answer; 0 closes it at once.  "
        "[default: no limit]",
        metavar="N",
        rich_help_panel=SAMPLING,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Sampling temperature: higher is more random, 0 is greedy, any other one is at least "
        "0.01.  "
        "[default: the model's own]",
        metavar="T",
        rich_help_panel=SAMPLING,
    ),
]
Greedy = Annotated[
    bool,
    typer.Option(
        "--greedy",
        help="Greedy decoding: always take the most likely token (--temperature 0).",
        rich_help_panel=SAMPLING,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        help="Nucleus sampling: consider only the most likely tokens whose probabilities add up "
        "to P.  [default: the model's own]",
        metavar="P",
        rich_help_panel=SAMPLING,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        help="Top-k sampling: consider only the K most likely tokens; 0 considers all.  "
        "[default: the model's own]",
        metavar="K",
        rich_help_panel=SAMPLING,
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        help="Min-p sampling: consider only tokens at least P times as likely as the most likely "
        "one.  [default: the model's own]",
        metavar="P",
        rich_help_panel=SAMPLING,
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option(
        help="Penalize tokens that have already occurred, in the prompt or the answer; 1 is off.  "
        "[default: the model's own]",
        metavar="X",
        rich_help_panel=SAMPLING,
    ),
]
FrequencyPenalty = Annotated[
    float | None,
    typer.Option(
        help="Lower the logit of a token by X for each time that it is in the answer already, from "
        "-2 to 2.  [default: 0, off]",
        metavar="X",
        rich_help_panel=SAMPLING,
    ),
]
PresencePenalty = Annotated[
    float | None,
    typer.Option(
        help="Lower the logit of a token by X if it is in the answer already, from -2 to 2.  "
        "[default: 0, off]",
        metavar="X",
        rich_help_panel=SAMPLING,
    ),
]
LogitBias = Annotated[
    list[str] | None,
    typer.Option(
        help="Add BIAS, from -100 to 100, to the logit of the token with this id; repeatable.",
        metavar="ID=BIAS",
        rich_help_panel=SAMPLING,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Random seed; the same seed on the same engine gives the same answer in float32, and "
        "with --deterministic in any dtype.  [default: random]",
        metavar="N",
        rich_help_panel=SAMPLING,
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        help="Stop string: end the answer before TEXT; repeatable.",
        metavar="TEXT",
        rich_help_panel=SAMPLING,
    ),
]
Choices = Annotated[
    int,
    typer.Option(
        "-n",
        "--n",
        min=1,
        max=1024,
        help="Generate N answers, up to 1024.",
        metavar="N",
        rich_help_panel=SAMPLING,
    ),
]
Logprobs = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=20,
        help="Add each token's log-probability to the JSON, with its K most likely alternatives "
        "(0 to 20).",
        metavar="K",
        rich_help_panel=OUTPUT,
    ),
]
IgnoreEos = Annotated[
    bool,
    typer.Option(
        "--ignore-eos",
        help="Keep generating after the end-of-sequence token, up to --max-tokens.",
        rich_help_panel=SAMPLING,
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        help="Constrain the answer to JSON that is valid under this JSON Schema.",
        metavar="FILE|JSON",
        rich_help_panel=STRUCTURE,
    ),
]
Regex = Annotated[
    str | None,
    typer.Option(
        help="Constrain the whole answer to a regular expression.",
        metavar="PATTERN",
        rich_help_panel=STRUCTURE,
    ),
]
Choice = Annotated[
    list[str] | None,
    typer.Option(
        help="Constrain the answer to one of several texts; repeat it for each.",
        metavar="TEXT",
        rich_help_panel=STRUCTURE,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Inference engine: auto, vllm or transformers.  [default: auto]",
        metavar="ENGINE",
        rich_help_panel=ENGINE,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Data type of weights and activations: auto, bfloat16, float16 or float32.  "
        "[default: auto, the model's own]",
        metavar="DTYPE",
        rich_help_panel=ENGINE,
    ),
]
Quantization = Annotated[
    str | None,
    typer.Option(
        help="Quantization method: fp8, awq or gptq on vLLM; bitsandbytes (nf4) or "
        "bitsandbytes-int8 on transformers.  [default: none]",
        metavar="METHOD",
        rich_help_panel=ENGINE,
    ),
]
Draft = Annotated[
    str | None,
    typer.Option(
        help="Speculative decoding (vLLM): let a smaller MODEL with the same tokens, or n-grams of "
        "the prompt and the answer, draft tokens that the model checks in one pass; none is for no "
        "draft.",
        metavar="MODEL|ngram|none",
        rich_help_panel=ENGINE,
    ),
]
DraftTokens = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="Draft up to N tokens at a time, at most 64.  [default: 4]",
        metavar="N",
        rich_help_panel=ENGINE,
    ),
]
TensorParallelSize = Annotated[
    int | None,
    typer.Option(
        "-tp",
        "--tensor-parallel-size",
        help="Tensor parallelism: split each layer over this many GPUs (vLLM).  [default: 1]",
        metavar="GPUS",
        rich_help_panel=ENGINE,
    ),
]
PipelineParallelSize = Annotated[
    int | None,
    typer.Option(
        "-pp",
        "--pipeline-parallel-size",
        help="Pipeline parallelism: divide the layers among this many GPUs (vLLM).  [default: 1]",
        metavar="GPUS",
        rich_help_panel=ENGINE,
    ),
]
GpuMemoryUtilization = Annotated[
    float | None,
    typer.Option(
        help="Fraction of each GPU's memory to use, from 0 to 1 (vLLM).  [default: vLLM's own]",
        metavar="X",
        rich_help_panel=ENGINE,
    ),
]
MaxModelLen = Annotated[
    int | None,
    typer.Option(
        help="Context length in tokens, prompt and answer together.  "
        "[default: the model's, at most 8192]",
        metavar="N",
        rich_help_panel=ENGINE,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device to run on: auto, cpu, cuda, cuda:1 or mps.  [default: auto]",
        metavar="DEVICE",
        rich_help_panel=ENGINE,
    ),
]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(
        help="Pass an argument through to the engine, such as enforce_eager=true; repeatable.",
        metavar="KEY=VALUE",
        rich_help_panel=ENGINE,
    ),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        help="Keep the engine loaded for later commands; unload it after TIME idle (30s, 10m, 2h).",
        metavar="TIME",
        rich_help_panel=SERVER,
    ),
]
Server = Annotated[
    list[str] | None,
    typer.Option(
        help="Send requests to the OpenAI-compatible server at URL instead of loading a model.",
        metavar="URL",
        rich_help_panel=SERVER,
    ),
]
Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        help="Send requests to the OpenAI-compatible server at URL instead of loading a model; "
        "repeatable, and @FILE names one a line: they share the rows, and may come and go.",
        metavar="URL|@FILE",
        rich_help_panel=SERVER,
    ),
]
Mixed = Annotated[
    bool,
    typer.Option(
        "--mixed",
        help="Let the servers run different models.",
        rich_help_panel=SERVER,
    ),
]
ServerWait = Annotated[
    str | None,
    typer.Option(
        help="Wait so long (30s, 10m, 2h) for one of several servers to come back where none is "
        "left.  [default: 5m]",
        metavar="TIME",
        show_default=False,
        rich_help_panel=SERVER,
    ),
]
InFlight = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="Give each server so many requests at a time.  [default: vLLM as many as it takes, "
        "others 32]",
        metavar="N",
        show_default=False,
        rich_help_panel=SERVER,
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(
        help="Environment variable with the API key for --server.",
        metavar="NAME",
        rich_help_panel=SERVER,
    ),
]
NoServer = Annotated[
    bool,
    typer.Option(
        "--no-server",
        help="Load the model in this process, even if a warm engine has it.",
        rich_help_panel=SERVER,
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run the Python code in the model's repository.",
        rich_help_panel=ENGINE,
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="Let no answer depend on what else is or was asked, also in bfloat16; slower for "
        "many at a time.",
        rich_help_panel=ENGINE,
    ),
]
AllowSpecial = Annotated[
    bool,
    typer.Option(
        "--allow-special",
        help="Encode the text of a control token in a message as that token.",
        rich_help_panel=PROMPT,
    ),
]
StrictRoles = Annotated[
    bool,
    typer.Option(
        "--strict-roles",
        help="Refuse (exit 65) a message with text that begins or ends a turn, such as "
        "<|assistant|>.",
        rich_help_panel=PROMPT,
    ),
]
Think = Annotated[
    bool | None,
    typer.Option(
        "--think/--no-think",
        help="Tell the chat template that the model is to think before it answers, or not to "
        "(its variable enable_thinking).  [default: the model's own]",
        show_default=False,
        rich_help_panel=PROMPT,
    ),
]
TemplateArg = Annotated[
    list[str] | None,
    typer.Option(
        "--template-arg",
        help="Pass a variable to the chat template, as JSON, True, False, None or text; "
        "repeatable.",
        metavar="KEY=VALUE",
        rich_help_panel=PROMPT,
    ),
]


class Reasoning(StrEnum):
    """Where the thought of a model goes that thinks before it answers."""

    SHOW = "show"
    HIDE = "hide"
    ONLY = "only"


ShowReasoning = Annotated[
    Reasoning | None,
    typer.Option(
        "--reasoning",
        help="Show what the model thinks before its answer (on stderr, if stdout is not a "
        "terminal), hide it, or print only that.  [default: show on a terminal, else hide]",
        metavar="show|hide|only",
        rich_help_panel=OUTPUT,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Load the model even if the planner says that it cannot fit.",
        rich_help_panel=ENGINE,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        help="Use the settings in [profile.NAME].  [default: $TULU_PROFILE]",
        metavar="NAME",
        rich_help_panel=OTHER,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Use only what is cached, and open no connection.",
        rich_help_panel=OTHER,
    ),
]
Plain = Annotated[
    bool,
    typer.Option(
        "--plain",
        help="Print the answer as it is on a terminal too, instead of drawing its Markdown.",
        rich_help_panel=OUTPUT,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "-v",
        "--verbose",
        help="Explain on stderr what was chosen, and why.",
        rich_help_panel=OTHER,
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback if something fails.", rich_help_panel=OTHER),
]


def with_greedy(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags with --greedy turned into a temperature of 0.

    Raise UsageError if there is another temperature beside it.
    """
    if not flags.get("greedy"):
        return flags
    if flags.get("temperature"):
        raise UsageError("--greedy and --temperature cannot be combined.")
    return {**flags, "temperature": 0.0}


def read_engine_args(pairs: list[str]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as keyword arguments; a value that is not JSON is a text.

    Raise UsageError for a pair that has another form.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        name = key.replace("-", "_")
        if not equals or not name.isidentifier():
            raise UsageError(f"--engine-arg takes KEY=VALUE, not {pair!r}.")
        try:
            arguments[name] = json.loads(text)
        except ValueError:
            arguments[name] = text
    return arguments


# As Python writes them, and so the model cards that show apply_chat_template(...).


def read_template_args(pairs: list[str] | None, think: bool | None = None) -> dict[str, Any]:
    """Return the variables of KEY=VALUE pairs, and of --think. Raise UsageError."""
    from tulu_cli.request.inputs import read_variable

    variables: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--template-arg takes KEY=VALUE, not {pair!r}.")
        variables[key] = read_variable(text)
    if think is None:
        return variables
    if "enable_thinking" in variables:
        raise UsageError("--think, --no-think and enable_thinking cannot be combined.")
    return {**variables, "enable_thinking": think}


def read_logit_bias(pairs: list[str] | None) -> dict[int, float]:
    """Return the biases of ID=BIAS pairs by their tokens' ids. Raise UsageError."""
    from tulu_cli.settings import parsed

    bias: dict[int, float] = {}
    for pair in pairs or ():
        token, _, text = pair.partition("=")
        value = parsed(float, text)
        is_id = token.isascii() and token.isdigit() and len(token) < 10
        if not is_id or not isinstance(value, float) or not -100 <= value <= 100:
            raise UsageError(
                "--logit-bias takes ID=BIAS, a token's id and a number from -100 to 100, "
                f"not {pair!r}."
            )
        bias[int(token)] = value
    return bias


def refuse_given(
    command: Callable[..., Any], flags: Mapping[str, Any], kept: Collection[str], why: str
) -> None:
    """Raise UsageError, which begins with `why`, for an option that is given and not `kept`."""
    from inspect import signature

    for name, parameter in signature(command).parameters.items():
        if name not in kept and flags[name] != parameter.default:
            option = {"n": "-n", "input_format": "--format"}.get(name)
            raise UsageError(f"{why}: leave {option or '--' + name.replace('_', '-')} out.")


def load_options(flags: dict[str, Any]) -> "LoadOptions":
    """Return where an answer is to come from, by a command's parameters. Raise UsageError."""
    from tulu_cli.loading import LoadOptions
    from tulu_cli.loading.servers import seconds
    from tulu_cli.settings import read_settings

    settings = read_settings(with_greedy(flags))
    check_server_options(settings, no_server=flags.get("no_server", False))
    switches = (
        "no_server",
        "offline",
        "trust_remote_code",
        "deterministic",
        "force",
        "verbose",
        "mixed",
    )
    return LoadOptions(
        settings=settings,
        engine_args=read_engine_args(flags.get("engine_arg") or []),
        server_wait=seconds(flags.get("server_wait") or "5m", "--server-wait"),
        **{name: flags.get(name, False) for name in switches},
    )


def check_several(flags: "Mapping[str, Any]", *settings: "Settings") -> None:
    """Raise UsageError for options of several servers where none of these settings has several."""
    from tulu_cli.loading.servers import are_several

    is_elsewhere = flags.get("no_server") or flags.get("ray") is not None
    if any(map(are_several, settings)) and not is_elsewhere:
        return
    for name in ("mixed", "server_wait"):
        if flags.get(name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} goes with several servers: --server names each.")


def check_one_adapter(settings: "Settings") -> None:
    """Raise UsageError for several adapters where one prompt is answered."""
    if settings.is_flag("adapter") and len(settings.get("adapter")) > 1:
        raise UsageError("One prompt is answered by one adapter: give --adapter once.")


def check_one_server(settings: "Settings") -> None:
    """Raise UsageError for several servers where one prompt is asked at a time.

    Of several in the settings, the first that answers is asked.
    """
    if settings.is_flag("server") and len(settings.get("server")) > 1:
        raise UsageError("One server answers here: give --server once.")


def check_server_options(settings: "Settings", *, no_server: bool) -> None:
    """Raise UsageError for flags that name more than one place where the answer comes from."""
    for name in ("keep_alive", "server"):
        if no_server and settings.is_flag(name):
            raise UsageError(f"--no-server and --{name.replace('_', '-')} cannot be combined.")
    if settings.is_flag("in_flight") and (no_server or not settings.get("server")):
        raise UsageError("--in-flight is how many requests a server is given: name it by --server.")
    if settings.is_flag("keep_alive") and settings.is_flag("server"):
        raise UsageError("--keep-alive is for an engine on this machine, not for --server.")
