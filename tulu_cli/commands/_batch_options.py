"""`tulu batch`: what the command line asks for, understood."""

from dataclasses import dataclass, field
from typing import Any

from tulu_cli.batch.template import Template
from tulu_cli.core import Constraint
from tulu_cli.errors import UsageError
from tulu_cli.settings import KEYS, Settings


@dataclass(frozen=True)
class BatchOptions:
    """The options of a batch. One error more than `max_errors` stops it."""

    settings: Settings
    source: str = "-"
    output: str = "-"
    resume: bool = False
    retry_errors: bool = False
    overwrite: bool = False
    input_format: str = "auto"
    template: Template | None = None
    output_format: str = "tulu"
    score: bool = False
    in_order: bool = False
    window: int | None = None
    max_errors: int | None = None
    stats: str | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    ignore_eos: bool = False
    logprobs: int | None = None
    constraint: Constraint | None = None
    engine_args: dict[str, Any] = field(default_factory=dict)
    no_server: bool = False
    force: bool = False
    trust_remote_code: bool = False
    allow_special: bool = False
    strict_roles: bool = False
    offline: bool = False
    verbose: bool = False


def check_scoring(chosen: BatchOptions) -> None:
    """Raises UsageError for what goes with generating and not with --score."""
    names = [key.name for key in KEYS if key.table == "sampling"]
    given = {f"--{name.replace('_', '-')}": chosen.settings.is_flag(name) for name in names}
    given["--temperature or --greedy"] = given.pop("--temperature")
    given |= {
        "--stop": bool(chosen.stop),
        "-n": chosen.n != 1,
        "--ignore-eos": chosen.ignore_eos,
        "--schema, --regex or --choice": chosen.constraint is not None,
        "--logprobs": chosen.logprobs is not None,
    }
    for name in filter(given.get, given):
        raise UsageError(f"--score generates nothing: leave {name} out.")
    if chosen.output_format == "openai":
        raise UsageError("--score has no place in OpenAI's format: leave --output-format out.")
