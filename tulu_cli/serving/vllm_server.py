"""The process that holds a warm vLLM: its own OpenAI server, started the quick way.

`python -m tulu_cli.serving.vllm_server FOLDER` serves what FOLDER/order.json asks for on a private
Unix socket. It differs from `vllm serve` in four things: its worker is forked after the imports
instead of importing all again, the environment is the one that vLLM's engine of ours has, the
worker gets a SIGKILL when this process ends, however it ends, and our clients are answered in our
own words (`vllm_middleware.py`).
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tulu_cli.engines.base import EngineSpec, first_line
from tulu_cli.engines.vllm.settings import (
    check_device,
    engine_arguments,
    load_error,
    lora_options,
    serve_arguments,
    set_environment,
)
from tulu_cli.engines.vllm.start import info_of, make_config, start_engine
from tulu_cli.engines.worker import (
    end_with,
    hub_switched_off,
    last_error,
    last_error_of,
    overheard_stderr,
)
from tulu_cli.errors import TuluError, UsageError
from tulu_cli.serving.host import report_failure, say_stage, spec_of
from tulu_cli.serving.public import served_names
from tulu_cli.serving.vllm_middleware import TuluRoutes
from tulu_cli.warm.record import read_order, write_json


def main(folder: Path) -> int:
    """Serve until a signal comes, or the worker dies."""
    os.umask(0o077)
    end_with(os.getppid(), signal.SIGTERM)
    order = read_order(folder)
    if order is None:
        return 1
    spec = spec_of(order)
    # Its log is a file, and says how far it has come.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")
    os.environ["VLLM_RPC_BASE_PATH"] = str(folder)
    set_environment(spec.device, deterministic=spec.deterministic)
    TuluRoutes.tokenizer = spec.tokenizer
    TuluRoutes.max_model_len = spec.max_model_len
    TuluRoutes.adapters = spec.adapters
    names = served_names(spec.name, order.asked)
    arguments = engine_arguments(spec) | server_arguments(names, folder / "socket")
    try:
        options = [*serve_arguments(arguments), *lora_options(spec.adapters)]
        run(spec.device, options, lambda config: note(config, spec, folder))
    except TuluError as error:
        report_failure(folder, error)
        return int(error.exit_code)
    except Exception as error:
        reason = last_error_of(folder / "log") or first_line(error)
        report_failure(folder, load_error(spec.name, reason))
        raise
    return 0


def main_public(name: str, device: str, arguments: list[str]) -> int:
    """Serve on an address of vLLM's own options, in the foreground; VLLM_API_KEY is the key.

    The terminal is the log; why model `name` could not be loaded is the last line of it.
    """
    set_environment(device)
    loaded: list[Any] = []
    failure: TuluError
    try:
        with overheard_stderr() as said:
            run(device, arguments, loaded.append)
    except TuluError as error:
        failure = error
    except Exception as error:
        if loaded:
            raise
        reason = last_error(said)
        if reason is None and not isinstance(error, ValueError):  # which a wrong setting is
            traceback.print_exc()
        failure = load_error(name, reason or first_line(error))
    else:
        return 0
    print(f"tulu: {failure}", file=sys.stderr)  # noqa: T201 (there is no `main` around this)
    return int(failure.exit_code)


def run(device: str, arguments: list[str], loaded: Callable[[Any], None]) -> None:
    """Start vLLM's server with options of `vllm serve`, and wait for its end.

    `loaded` is called with vLLM's config before the first request is let in.
    """
    say_stage("importing vLLM")
    import uvloop
    from vllm.platforms import current_platform

    check_device(device, current_platform.device_type)
    args = parsed(arguments)
    with hub_switched_off():
        uvloop.run(serve(args, loaded))


def parsed(arguments: list[str]) -> Any:
    """Return the options of `vllm serve` as vLLM reads them. Raise UsageError for a wrong one."""
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
    except ModuleNotFoundError:  # to 0.32
        from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args

    try:
        args = make_arg_parser(FlexibleArgumentParser()).parse_args(arguments)
    except SystemExit as error:  # argparse has said which
        raise UsageError("vLLM does not take one of these --engine-arg: see its log.") from error
    args.model = args.model_tag  # as the `vllm` command itself does it
    validate_parsed_serve_args(args)
    return args


def server_arguments(names: tuple[str, ...], socket: Path) -> dict[str, Any]:
    """Return the options of vLLM's server beside those of its engine; the model has `names`."""
    return {
        "uds": str(socket),
        "served_model_name": names,
        "uvicorn_log_level": "warning",
        "disable_uvicorn_access_log": True,
        "disable_fastapi_docs": True,
        "middleware": f"{TuluRoutes.__module__}.{TuluRoutes.__name__}",
        # How many tokens were cached, and how many requests run.
        "enable_prompt_tokens_details": True,
        "enable_server_load_tracking": True,
    }


async def serve(args: Any, loaded: Callable[[Any], None]) -> None:
    """Do what vLLM's `run_server` does, with minded workers and a note of what was loaded."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.api_server.entry import build_and_serve
    from vllm.entrypoints.launchers.launcher import setup_server
    from vllm.usage.usage_lib import UsageContext

    config = make_config(AsyncEngineArgs.from_cli_args(args), UsageContext.OPENAI_API_SERVER)
    address, listening = setup_server(args, reuse_port=False)
    if args.uds:
        Path(args.uds).chmod(0o600)
    engine = start_engine(config, disable_log_stats=args.disable_log_stats)
    TuluRoutes.engine = engine
    try:
        loaded(config)
        ended = await build_and_serve(engine, address, listening, args)
    finally:
        engine.shutdown()
    await ended


def note(config: Any, spec: EngineSpec, folder: Path) -> None:
    """Write down what was loaded, for commands that look for a warm engine."""
    write_json(folder / "info.json", asdict(info_of(config, spec)))


if __name__ == "__main__":
    if sys.argv[1] == "--public":
        sys.exit(main_public(sys.argv[2], sys.argv[3], sys.argv[4:]))
    sys.exit(main(Path(sys.argv[1])))
