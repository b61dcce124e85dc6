"""`tulu batch`: what the command line asks for, understood."""

from dataclasses import dataclass, field
from typing import Any

from tulu_cli.batch.template import Template
from tulu_cli.core import Constraint
from tulu_cli.settings import Settings


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
    in_order: bool = False
    window: int | None = None
    max_errors: int | None = None
    stats: str | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    ignore_eos: bool = False
    constraint: Constraint | None = None
    engine_args: dict[str, Any] = field(default_factory=dict)
    no_server: bool = False
    force: bool = False
    trust_remote_code: bool = False
    allow_special: bool = False
    offline: bool = False
    verbose: bool = False
