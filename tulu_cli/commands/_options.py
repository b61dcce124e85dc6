"""Every option that more than one command has, declared once: its names, its type and its help."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.loading import LoadOptions
    from tulu_cli.settings import Settings

Model = Annotated[
    str | None,
    typer.Option(
        "-m",
        "--model",
        help="8b, 70b, 405b and their -sft and -dpo stages, demo, org/name[@revision], "
        "a directory or a .gguf file.  [default: Tülu 3 8B where a GPU can hold it, else demo]",
        metavar="MODEL",
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        "-s",
        "--system",
        help="System prompt: a text, the name of one in the settings, tulu (the prompt of Ai2's "
        "demo, the default for Tülu models) or none.",
        metavar="SYSTEM",
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(help="Most tokens to generate.  [default: up to the context length]", metavar="N"),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="How freely tokens are drawn; 0 is greedy.  [default: the model's own]", metavar="X"
    ),
]
Greedy = Annotated[bool, typer.Option("--greedy", help="The same as --temperature 0.")]
TopP = Annotated[
    float | None,
    typer.Option(
        help="Draw from the likeliest tokens, up to this sum of chances.  "
        "[default: the model's own]",
        metavar="X",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        help="Draw from this many likeliest tokens; 0 is off.  [default: the model's own]",
        metavar="N",
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        help="Draw from tokens with this share of the best one's chance.  "
        "[default: the model's own]",
        metavar="X",
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option(
        help="Over 1 makes tokens that were there before less likely.  [default: the model's own]",
        metavar="X",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Same seed, same engine, same answer.  [default: drawn]", metavar="N"),
]
Stop = Annotated[
    list[str] | None, typer.Option(help="End before this text; repeatable.", metavar="TEXT")
]
Choices = Annotated[
    int,
    typer.Option("-n", "--n", min=1, max=1024, help="How many answers to give.", metavar="N"),
]
Logprobs = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=20,
        help="Log-probabilities in the JSON, with this many alternatives a token.",
        metavar="K",
    ),
]
IgnoreEos = Annotated[
    bool, typer.Option("--ignore-eos", help="Go on after the model's end token, up to a limit.")
]
Schema = Annotated[
    str | None,
    typer.Option(help="The answer is JSON of this JSON schema.", metavar="FILE|JSON"),
]
Regex = Annotated[
    str | None,
    typer.Option(help="The answer matches this regular expression as a whole.", metavar="PATTERN"),
]
Choice = Annotated[
    list[str] | None, typer.Option(help="The answer is one of these; repeat it.", metavar="TEXT")
]
Engine = Annotated[
    str | None,
    typer.Option(help="auto, vllm or transformers.  [default: auto]", metavar="ENGINE"),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="auto, bfloat16, float16 or float32.  [default: auto, the model's own]",
        metavar="DTYPE",
    ),
]
Quantization = Annotated[
    str | None,
    typer.Option(
        help="vllm: fp8, awq, gptq; transformers: bitsandbytes (nf4), bitsandbytes-int8.  "
        "[default: none]",
        metavar="METHOD",
    ),
]
TensorParallelSize = Annotated[
    int | None,
    typer.Option(
        "-tp",
        "--tensor-parallel-size",
        help="GPUs that share each layer (vllm).  [default: 1]",
        metavar="GPUS",
    ),
]
PipelineParallelSize = Annotated[
    int | None,
    typer.Option(
        "-pp",
        "--pipeline-parallel-size",
        help="GPUs that layers are split over (vllm).  [default: 1]",
        metavar="GPUS",
    ),
]
GpuMemoryUtilization = Annotated[
    float | None,
    typer.Option(
        help="Share of each GPU's memory to take (vllm).  [default: vLLM's own]", metavar="X"
    ),
]
MaxModelLen = Annotated[
    int | None,
    typer.Option(
        help="Context length.  [default: the smaller of the model's and 8192]", metavar="N"
    ),
]
Device = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda, cuda:1, mps.  [default: auto]", metavar="DEVICE"),
]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(
        help="An argument of the engine's own, passed through; repeatable.", metavar="KEY=VALUE"
    ),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        help="Keep the engine warm until it was idle for so long (30s, 10m, 2h); the next command "
        "uses it.",
        metavar="TIME",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        help="Let the OpenAI-compatible server at this URL answer, not an engine here.",
        metavar="URL",
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(help="The variable that holds the key of --server.", metavar="NAME"),
]
NoServer = Annotated[
    bool, typer.Option("--no-server", help="Load the model here, whatever engine is warm.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let the model's repository run its Python.")
]
AllowSpecial = Annotated[
    bool,
    typer.Option(
        "--allow-special", help="Let the text of a control token in a message become that token."
    ),
]
StrictRoles = Annotated[
    bool,
    typer.Option(
        "--strict-roles",
        help="Refuse (exit 65) a message that holds what begins or ends a turn, as <|assistant|>.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Load the model even if the plan says that it cannot fit.")
]
Profile = Annotated[
    str | None,
    typer.Option(
        help="Use [profile.NAME] of the settings.  [default: TULU_PROFILE]", metavar="NAME"
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Open no socket: use what is cached.")]
Plain = Annotated[
    bool,
    typer.Option("--plain", help="On a terminal too: the text as it is, not drawn as Markdown."),
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Say on stderr what is chosen, and why.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]


def with_greedy(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags of a command, in which --greedy is the temperature that it stands for."""
    if not flags.get("greedy"):
        return flags
    if flags.get("temperature"):
        raise UsageError("--greedy and --temperature exclude one another.")
    return {**flags, "temperature": 0.0}


def read_engine_args(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE pairs as keyword arguments; a value that is JSON is that value, else a text."""
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


def load_options(flags: dict[str, Any]) -> "LoadOptions":
    """Return where an answer is to come from, by a command's parameters. Raise UsageError."""
    from tulu_cli.loading import LoadOptions
    from tulu_cli.settings import read_settings

    settings = read_settings(with_greedy(flags))
    check_server_options(settings, no_server=flags.get("no_server", False))
    switches = ("no_server", "offline", "trust_remote_code", "force", "verbose")
    return LoadOptions(
        settings=settings,
        engine_args=read_engine_args(flags.get("engine_arg") or []),
        **{name: flags.get(name, False) for name in switches},
    )


def check_server_options(settings: "Settings", *, no_server: bool) -> None:
    """Raise UsageError for flags that name more than one place where the answer comes from."""
    for name in ("keep_alive", "server"):
        if no_server and settings.is_flag(name):
            raise UsageError(f"--no-server and --{name.replace('_', '-')} cannot be combined.")
    if settings.is_flag("keep_alive") and settings.is_flag("server"):
        raise UsageError("--keep-alive is for an engine on this machine, not for --server.")
