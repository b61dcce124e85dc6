"""`tulu serve`: keep a model loaded, on a private socket or on a port."""

from typing import Annotated

import typer

from tulu_cli.commands import _options

EXAMPLES = (
    ("Load a model until Ctrl-C", "tulu serve 8b"),
    ("Load it in the background", "tulu serve 8b --detach --keep-alive 30m"),
    (
        "Serve it to programs that speak OpenAI's API, on this machine",
        "tulu serve 8b --host 127.0.0.1",
    ),
    (
        "Serve it to other machines, behind a key",
        "tulu serve 70b -tp 4 --host 0.0.0.0 --api-key-file key.txt",
    ),
    ("Print what serves it on two machines", "tulu serve 405b --nodes 2"),
)
EXIT_CODES = {
    code: meaning
    for code, meaning in _options.EXIT_CODES.items()
    if code in (0, 1, 2, 3, 4, 5, 7, 65)
}


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The model, as for -m of `tulu complete`.  [default: 8b if a GPU can hold it, "
            "else demo]",
            metavar="MODEL",
        ),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Return when the engine is ready, and leave it running.",
            rich_help_panel=_options.SERVER,
        ),
    ] = False,
    keep_alive: Annotated[
        str | None,
        typer.Option(
            help="Unload the model after TIME idle (30s, 10m, 2h).  [default: never]",
            metavar="TIME",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Serve OpenAI's API at this address: 127.0.0.1 for this machine, 0.0.0.0 for all, "
            "with a key.",
            metavar="ADDRESS",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            help="Port for --host.",
            min=1,
            max=65535,
            metavar="PORT",
            rich_help_panel=_options.SERVER,
        ),
    ] = 8000,
    api_key_file: Annotated[
        str | None,
        typer.Option(
            help="File with the API key that --host asks of clients.",
            metavar="FILE",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            "--nnodes",
            help="Print the script that serves the model on N machines, and do no more.",
            min=2,
            metavar="N",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            "--replicas",
            "-dp",
            "--data-parallel-size",
            help="Print the script that serves N replicas of the model, on this machine or on "
            "--nodes, and do no more.",
            min=2,
            metavar="N",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Run vLLM on the Ray cluster at this address.",
            metavar="ADDRESS",
            rich_help_panel=_options.SERVER,
        ),
    ] = None,
    adapter: _options.Adapter = None,
    engine: _options.Engine = None,
    dtype: _options.Dtype = None,
    quantization: _options.Quantization = None,
    draft: _options.Draft = None,
    draft_tokens: _options.DraftTokens = None,
    tensor_parallel_size: _options.TensorParallelSize = None,
    pipeline_parallel_size: _options.PipelineParallelSize = None,
    gpu_memory_utilization: _options.GpuMemoryUtilization = None,
    max_model_len: _options.MaxModelLen = None,
    device: _options.Device = None,
    engine_arg: _options.EngineArg = None,
    trust_remote_code: _options.TrustRemoteCode = False,
    deterministic: _options.Deterministic = False,
    force: _options.Force = False,
    profile: _options.Profile = None,
    offline: _options.Offline = False,
    verbose: _options.Verbose = False,
    debug: _options.Debug = False,
) -> None:
    """Keep a model loaded, so that other commands answer at once.

    The engine listens on a Unix socket that only you can open, and the other commands find it by
    themselves. End it with Ctrl-C, or with `tulu stop` if it runs with --detach.
    """
    flags = dict(locals())
    from tulu_cli.machine import read_machine
    from tulu_cli.serving.options import ServeOptions
    from tulu_cli.serving.session import run
    from tulu_cli.streams import Streams

    chosen = ServeOptions(
        load=_options.load_options(flags),
        detach=detach,
        host=host,
        port=port,
        api_key_file=api_key_file,
        nodes=nodes,
        replicas=replicas,
        ray=ray,
    )
    run(chosen, Streams.standard(), read_machine())
