"""`tulu batch`: what the command line asks for, understood."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.batch.rows import FORMATS, Template
from tulu_cli.batch.scoring import Scored
from tulu_cli.batch.shards import Shard
from tulu_cli.core import Completion, Constraint
from tulu_cli.errors import UsageError
from tulu_cli.loading import TokenModel
from tulu_cli.prompt.thinking import check_variables, no_thoughts, writes_thoughts
from tulu_cli.settings import KEYS
from tulu_cli.text import plural

if TYPE_CHECKING:
    from tulu_cli.engines.ray import RayOptions
    from tulu_cli.loading import LoadOptions, Prepared


@dataclass(frozen=True)
class Verifier:
    """Verifies answers as they come: `columns` makes what a row gets for them, from its columns.

    It raises BadInput for a row whose answers cannot be verified. `rule` is what was asked for.
    """

    rule: str
    columns: Callable[[Mapping[str, Any], Sequence[Completion] | Scored], Mapping[str, Any]]


@dataclass(frozen=True)
class BatchOptions:
    """The options of a batch. One error more than `max_errors` stops it.

    With a `shard`, only its rows are answered; with `ray`, they are by workers on a cluster. The
    `variables` are for the chat template. What is said of the progress begins with the `label`, and
    counts down from `rows`, those of the input, where they are known.
    """

    load: "LoadOptions"
    source: str = "-"
    output: str = "-"
    resume: bool = False
    retry_errors: bool = False
    overwrite: bool = False
    input_format: str = "auto"
    template: Template | None = None
    output_format: str = "tulu"
    score: bool = False
    no_end: bool = False
    in_order: bool = False
    window: int | None = None
    shard: Shard | None = None
    ray: "RayOptions | None" = None
    max_errors: int | None = None
    stats: str | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    ignore_eos: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    constraint: Constraint | None = None
    verify: "Verifier | None" = None
    allow_special: bool = False
    strict_roles: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    rows: int | None = None


def check_combinations(chosen: BatchOptions) -> None:
    """Raise UsageError for options that contradict one another, or name what is not there."""
    settings = chosen.load.settings
    if settings.is_flag("adapter") and len(settings.get("adapter")) > 1:
        raise UsageError("All rows are answered by one adapter: give --adapter once.")
    check_format(chosen.input_format)
    if chosen.output_format not in ("tulu", "openai"):
        raise UsageError(f"--output-format takes tulu or openai, not {chosen.output_format}.")
    if chosen.output == "-" and (chosen.resume or chosen.overwrite):
        raise UsageError("--resume and --overwrite need a file to write: name it with -o.")
    if chosen.resume and chosen.overwrite:
        raise UsageError("--resume and --overwrite cannot be combined.")
    if chosen.retry_errors and not chosen.resume:
        raise UsageError("--retry-errors goes with --resume.")
    if chosen.verify is not None and chosen.output_format == "openai":
        raise UsageError("OpenAI's format has no place for verdicts: leave --output-format out.")
    if chosen.score:
        _check_scoring(chosen)
    elif chosen.no_end:
        raise UsageError("--no-end goes with --score.")
    if "-" not in (chosen.source, chosen.output) and _same_file(chosen.source, chosen.output):
        raise UsageError("The output would overwrite the input: name another file with -o.")


def check_format(name: str) -> None:
    """Raise UsageError for what is no format of rows."""
    if name not in FORMATS:
        raise UsageError(f"--format takes {', '.join(FORMATS)}, not {name}.")


def check_model(chosen: BatchOptions, prepared: "Prepared") -> None:
    """Raise UsageError for what the model, or the server that is to answer, cannot be asked."""
    tokens = prepared.model if isinstance(prepared.model, TokenModel) else None
    if tokens is not None and not chosen.score:
        check_variables(tokens.tokenizer, chosen.variables)
        limits = prepared.settings.is_flag("max_reasoning_tokens")
        if limits and not writes_thoughts(tokens.tokenizer):
            raise no_thoughts("--max-reasoning-tokens")
    if chosen.ray is not None:
        _check_split(chosen, prepared)
    prepared.model.refuse(
        chosen.constraint,
        allow_special=chosen.allow_special,
        strict_roles=chosen.strict_roles,
        ignore_eos=chosen.ignore_eos,
        score=chosen.score,
    )


def _check_split(chosen: BatchOptions, prepared: "Prepared") -> None:
    """Raise UsageError for GPUs of a worker that vLLM would not use, or would lack.

    transformers divides a model among all that it sees.
    """
    asked, spec = chosen.ray and chosen.ray.gpus_per_worker, prepared.token_model().spec
    own = any("parallel" in name for name in chosen.load.engine_args)
    split = spec.tensor_parallel_size * spec.pipeline_parallel_size
    if asked and asked != split and prepared.choice.engine == "vllm" and not own:
        raise UsageError(
            f"--gpus-per-worker {asked}: vLLM splits the model over {plural(split, 'GPU')}, by -tp "
            "times -pp: give the same number of both."
        )


def _check_scoring(chosen: BatchOptions) -> None:
    """Raise UsageError for what goes with generating and not with --score."""
    names = [key.name for key in KEYS if key.table == "sampling"]
    given = {f"--{name.replace('_', '-')}": chosen.load.settings.is_flag(name) for name in names}
    given["--temperature or --greedy"] = given.pop("--temperature")
    given |= {
        "--stop": bool(chosen.stop),
        "-n": chosen.n != 1,
        "--ignore-eos": chosen.ignore_eos,
        "--logit-bias": bool(chosen.logit_bias),
        "--schema, --regex or --choice": chosen.constraint is not None,
        "--logprobs": chosen.logprobs is not None,
        "--verify": chosen.verify is not None,
        "--draft": chosen.load.settings.is_flag("draft"),
        "--draft-tokens": chosen.load.settings.is_flag("draft_tokens"),
    }
    for name in filter(given.get, given):
        raise UsageError(f"--score generates nothing: leave {name} out.")
    if chosen.output_format == "openai":
        raise UsageError("--score has no place in OpenAI's format: leave --output-format out.")


def _same_file(one: str, other: str) -> bool:
    """Return True if both names are of one existing file."""
    return Path(one).exists() and Path(other).exists() and Path(one).samefile(other)
