"""`tulu complete`: what the command line asks for, understood, and what of it goes together."""

from dataclasses import dataclass, field
from typing import Any

from tulu_cli.core import Constraint
from tulu_cli.errors import UsageError
from tulu_cli.inputs import Given
from tulu_cli.launch import Prepared, check_server_options
from tulu_cli.settings import Settings


@dataclass(frozen=True)
class CompleteOptions:
    """What the command line asks for, understood."""

    settings: Settings
    given: Given
    prefill: str | None = None
    raw: bool = False
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    ignore_eos: bool = False
    constraint: Constraint | None = None
    json_output: bool = False
    plain: bool = False
    stats: bool = False
    fail_on_length: bool = False
    engine_args: dict[str, Any] = field(default_factory=dict)
    no_server: bool = False
    trust_remote_code: bool = False
    allow_special: bool = False
    strict_roles: bool = False
    force: bool = False
    offline: bool = False
    verbose: bool = False


def check_combinations(chosen: CompleteOptions) -> None:
    """Raises UsageError for options that contradict one another."""
    if chosen.raw:
        needs_template = {
            "--messages": chosen.given.messages is not None,
            "--prefill": chosen.prefill is not None,
            "--system": chosen.settings.is_flag("system"),
            "--strict-roles": chosen.strict_roles,
        }
        for name in filter(needs_template.get, needs_template):
            raise UsageError(f"--raw sends a plain text: {name} needs a chat template.")
    check_server_options(chosen.settings, no_server=chosen.no_server)
    if chosen.logprobs is not None and not chosen.json_output:
        raise UsageError("--logprobs are part of the --json output: add --json.")


def check_server(chosen: CompleteOptions, prepared: Prepared) -> None:
    """Raises UsageError for options that a server which makes the prompt itself has no word for."""
    prepared.refuse(
        chosen.constraint,
        raw=chosen.raw,
        prefill=chosen.prefill is not None,
        allow_special=chosen.allow_special,
        strict_roles=chosen.strict_roles,
        ignore_eos=chosen.ignore_eos,
        engine_arg=chosen.engine_args,
    )
