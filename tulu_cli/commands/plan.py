"""`tulu plan`: does a model fit, how long a context, how many users, on which GPUs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tulu_cli.commands import _options
from tulu_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from tulu_cli.machine import Machine
    from tulu_cli.settings import Settings

_ENGINES = ("vllm", "transformers")
_USAGES = ("server", "llm")
_FINDS = ("max-model-len", "concurrency", "gpus", "utilization")
_CACHE_BITS = (4, 2)
_MOST = 2**30
_MOST_GPUS = 4096
# Sections of --help beside those that other commands have.
GPUS, LOAD = "GPUs", "Load"
EXIT_CODES = {
    0: "The model fits, perhaps with a warning.",
    1: ExitCode.FAILURE.meaning,
    2: ExitCode.USAGE.meaning,
    3: "The model does not fit.",
    5: ExitCode.MODEL_NOT_FOUND.meaning,
    65: "The model's files cannot be read; stderr says why.",
}


def plan(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The model to plan for, as for -m of `tulu complete`.", metavar="MODEL"
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help="GPU of the catalogue, or memory of one GPU, or both, and the number of GPUs in a "
            "node.  [default: this machine's]",
            metavar="GPU[@24GiB][:N]|24GiB[:N]",
            rich_help_panel=GPUS,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            "--nnodes",
            min=1,
            max=512,
            help="Number of machines, with those GPUs each; compares the layouts that they can "
            "have, unless -tp, -pp or --replicas fix one.",
            metavar="N",
            rich_help_panel=GPUS,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Engine to plan for.",
            metavar="|".join(_ENGINES),
            rich_help_panel=_options.ENGINE,
        ),
    ] = "vllm",
    max_model_len: _options.MaxModelLen = None,
    concurrency: Annotated[
        int,
        typer.Option(
            min=1,
            max=_MOST,
            help="Requests of the context length at once (vllm).",
            metavar="N",
            rich_help_panel=LOAD,
        ),
    ] = 1,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="Plan for this adapter (LoRA) beside the model too; repeatable.",
            metavar="DIR|org/name",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option(
            help="Plan for a draft beside the model too: a smaller MODEL, or n-grams, which take "
            "no memory.",
            metavar="MODEL|ngram|none",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
    draft_tokens: _options.DraftTokens = None,
    dtype: _options.Dtype = None,
    quantization: Annotated[
        str | None,
        typer.Option(
            help="Quantization of the weights: fp8, int8, awq or gptq on vLLM; bitsandbytes, "
            "bitsandbytes-int8 or a GGUF type such as gguf-q4_k on transformers.",
            metavar="METHOD",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
    kv_cache_dtype: Annotated[
        str,
        typer.Option(
            help="Data type of the KV cache; auto is the model's own (vllm).",
            metavar="auto|fp8|bfloat16|float16",
            rich_help_panel=_options.ENGINE,
        ),
    ] = "auto",
    tensor_parallel_size: _options.TensorParallelSize = None,
    pipeline_parallel_size: _options.PipelineParallelSize = None,
    data_parallel_size: Annotated[
        int | None,
        typer.Option(
            "--replicas",
            "-dp",
            "--data-parallel-size",
            min=1,
            max=_MOST_GPUS,
            help="Data parallelism: replicas that share the requests and the experts (vllm).  "
            "[default: 1]",
            metavar="N",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
    enable_expert_parallel: Annotated[
        bool,
        typer.Option(
            "-ep",
            "--enable-expert-parallel",
            help="Expert parallelism: whole experts on each GPU instead of a part of each (vllm).",
            rich_help_panel=_options.ENGINE,
        ),
    ] = False,
    gpu_memory_utilization: _options.GpuMemoryUtilization = None,
    kv_cache_memory_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**50,
            help="Size of each GPU's KV cache, whatever --gpu-memory-utilization says (vllm).",
            metavar="BYTES",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
    cpu_offload_gb: Annotated[
        float,
        typer.Option(
            min=0,
            max=2**20,
            help="GiB of each GPU's weights to keep in the machine's memory (vllm).",
            metavar="GIB",
            rich_help_panel=_options.ENGINE,
        ),
    ] = 0.0,
    usage_context: Annotated[
        str,
        typer.Option(
            help="Plan with the defaults of vLLM's server or of its LLM class (vllm).",
            metavar="|".join(_USAGES),
            rich_help_panel=LOAD,
        ),
    ] = "server",
    max_num_seqs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_MOST,
            help="Most sequences in a batch (vllm).  [default: vLLM's own]",
            metavar="N",
            rich_help_panel=LOAD,
        ),
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=_MOST,
            help="Most tokens in a batch (vllm).  [default: vLLM's own]",
            metavar="N",
            rich_help_panel=LOAD,
        ),
    ] = None,
    block_size: Annotated[
        int,
        typer.Option(
            min=1,
            max=2**20,
            help="Tokens in a block of the KV cache (vllm).",
            metavar="N",
            rich_help_panel=_options.ENGINE,
        ),
    ] = 16,
    enforce_eager: Annotated[
        bool,
        typer.Option(
            "--enforce-eager",
            "--eager",
            help="Plan without CUDA graphs (vllm).",
            rich_help_panel=_options.ENGINE,
        ),
    ] = False,
    vllm_version: Annotated[
        str | None,
        typer.Option(
            help="Release of vLLM to plan by.  [default: installed, else newest known]",
            metavar="X.Y.Z",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            "--batch",
            min=1,
            max=_MOST,
            help="Prompts generated for at once (transformers).",
            metavar="N",
            rich_help_panel=LOAD,
        ),
    ] = 1,
    num_beams: Annotated[
        int,
        typer.Option(
            "--num-beams",
            "--beams",
            min=1,
            max=_MOST,
            help="Beams of each prompt in beam search (transformers).",
            metavar="N",
            rich_help_panel=LOAD,
        ),
    ] = 1,
    static_cache: Annotated[
        bool,
        typer.Option(
            "--static-cache",
            help="Plan for a KV cache allocated at full length (transformers).",
            rich_help_panel=_options.ENGINE,
        ),
    ] = False,
    quantized_cache: Annotated[
        int | None,
        typer.Option(
            help="Plan for transformers' QuantizedCache, by quanto (transformers).",
            metavar="4|2",
            rich_help_panel=_options.ENGINE,
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Lay the figures of a start-up log of vLLM beside the plan's; - is stdin (vllm).",
            metavar="FILE|-",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Plan several models side by side, instead of MODEL.",
            metavar="A,B",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            help="Print only the best value of one setting with which the model fits (vllm).",
            metavar="|".join(_FINDS),
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Print each formula with its numbers (vllm).",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    plot: Annotated[
        str | None,
        typer.Option(
            help="Draw the requests at once against the context length (vllm).",
            metavar="FILE.svg",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = None,
    json_output: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print every number as one JSON object.",
            rich_help_panel=_options.OUTPUT,
        ),
    ] = False,
    offline: _options.Offline = False,
    debug: _options.Debug = False,
) -> None:
    """Say whether a model fits, how long a context and how many users, on which GPUs.

    Without --gpu it plans for this machine's GPUs, and where there are none it ranks the GPUs of
    its catalogue.
    """
    flags = dict(locals())
    from tulu_cli.models.draft import NONE
    from tulu_cli.plan.run import PlanOptions, run
    from tulu_cli.settings import KEYS, read_settings
    from tulu_cli.streams import Streams

    # The engine and the quantization of a plan have values of their own.
    own = ("engine", "quantization", "model", "adapter", "draft", "draft_tokens")
    names = [key.name for key in KEYS if key.name in flags and key.name not in own]
    settings = read_settings({name: flags[name] for name in names})
    if compare is not None and find is not None:
        raise UsageError("--find takes one MODEL: it cannot be combined with --compare.")
    if log is not None and (model is None or compare or find or plot):
        raise UsageError(
            "--log takes one MODEL, and cannot be combined with --compare, --find or --plot."
        )
    if quantized_cache is not None and (quantized_cache not in _CACHE_BITS or static_cache):
        raise UsageError(
            "--quantized-cache takes 4 or 2 bits, and cannot be combined with --static-cache."
        )
    # A log has settings of its own, of which only a flag differs on purpose.
    value = settings.get if log is None else flags.get
    chosen = PlanOptions(
        models=_models(model, compare, settings),
        aliases=settings.aliases,
        gpu=gpu,
        nodes=nodes,
        engine=_engine(engine),
        max_model_len=value("max_model_len"),
        concurrency=concurrency,
        dtype=value("dtype") or "auto",
        quantization=quantization,
        kv_cache_dtype=_kv_dtype(kv_cache_dtype),
        tensor_parallel_size=value("tensor_parallel_size"),
        pipeline_parallel_size=value("pipeline_parallel_size"),
        data_parallel_size=data_parallel_size,
        enable_expert_parallel=enable_expert_parallel,
        gpu_memory_utilization=value("gpu_memory_utilization"),
        kv_cache_memory_bytes=kv_cache_memory_bytes,
        cpu_offload_gb=cpu_offload_gb,
        usage_context=_usage(usage_context),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        block_size=block_size,
        enforce_eager=enforce_eager,
        vllm_version=vllm_version,
        batch_size=batch_size,
        num_beams=num_beams,
        static_cache=static_cache,
        quantized_cache=quantized_cache,
        log=log,
        find=_find(find),
        explain=explain,
        plot=plot,
        json_output=json_output,
        offline=offline,
        adapters=tuple(adapter or ()),
        draft=None if draft == NONE else draft,
        draft_tokens=draft_tokens,
    )
    run(chosen, Streams.standard(), _read_machine)


def _read_machine() -> "Machine":
    from tulu_cli.machine import read_machine

    return read_machine()


def _models(model: str | None, compare: str | None, settings: "Settings") -> tuple[str, ...]:
    if compare is None:
        name = model or settings.get("model")
        if name is None:
            raise UsageError("tulu plan needs a MODEL, such as 8b or 70b.")
        return (name,)
    if model is not None:
        raise UsageError("Name all models in --compare only, or one MODEL without --compare.")
    names = tuple(filter(None, (name.strip() for name in compare.split(","))))
    if len(names) < 2:
        raise UsageError("--compare takes two or more models, such as 8b,70b.")
    return names


def _engine(name: str) -> Any:
    if name not in _ENGINES:
        raise UsageError(f"--engine takes vllm or transformers here, not {name!r}.")
    return name


def _kv_dtype(name: str) -> str:
    from tulu_cli.plan.shape import KV_DTYPE_BYTES

    if name != "auto" and name not in KV_DTYPE_BYTES:
        names = ", ".join(("auto", *KV_DTYPE_BYTES))
        raise UsageError(f"--kv-cache-dtype takes one of {names}, not {name!r}.")
    return name


def _usage(name: str) -> Any:
    if name not in _USAGES:
        raise UsageError(f"--usage-context takes one of {', '.join(_USAGES)}, not {name!r}.")
    return name


def _find(what: str | None) -> str | None:
    if what is not None and what not in _FINDS:
        raise UsageError(f"--find takes one of {', '.join(_FINDS)}, not {what!r}.")
    return what
