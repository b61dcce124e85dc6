"""`tulu compare`: what the command line asks for, understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.batch.options import check_format
from tulu_cli.batch.rows import Template
from tulu_cli.comparison.votes import LETTERS
from tulu_cli.errors import UsageError

if TYPE_CHECKING:
    from tulu_cli.loading import LoadOptions

_SUFFIXES = (".jsonl", ".json", ".csv")


@dataclass(frozen=True)
class CompareOptions:
    """What is to be compared, and how.

    With `models`, each by its label, `source` is the prompt or the rows that they answer.
    Otherwise `files` are outputs of `tulu batch`, and `source` is their input, or None.
    """

    models: Mapping[str, "LoadOptions"] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    source: str | None = None
    input_format: str = "auto"
    template: Template | None = None
    stop: tuple[str, ...] = ()
    allow_special: bool = False
    strict_roles: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)
    blind: bool = False
    output: str | None = None
    order_seed: int | None = None
    resume: bool = False
    overwrite: bool = False
    json_output: bool = False

    @property
    def is_prompt(self) -> bool:
        """Return True if `source` is the prompt itself, and not the name of a file of rows."""
        return self.source is not None and bool(self.models) and not is_rows(self.source)


def is_rows(word: str) -> bool:
    """Return True for a word that names rows, and False for one that is a prompt."""
    return word == "-" or word.lower().endswith(_SUFFIXES)


def check(chosen: CompareOptions) -> None:
    """Raise UsageError for options that contradict one another, or leave something open."""
    _check_sides(chosen)
    check_format(chosen.input_format)
    if chosen.is_prompt and (chosen.input_format != "auto" or chosen.template is not None):
        raise UsageError("--format and --template are for a file of rows, not for a prompt.")
    if chosen.blind:
        _check_votes(chosen)
        return
    given = {"-o": chosen.output is not None, "--order-seed": chosen.order_seed is not None}
    given |= {"--resume": chosen.resume, "--overwrite": chosen.overwrite}
    for name in filter(given.get, given):
        raise UsageError(f"{name} is for the votes of --blind: leave it out.")


def _check_sides(chosen: CompareOptions) -> None:
    count = len(chosen.models) or len(chosen.files)
    if count < 2:
        raise UsageError("Name two models or more with -m, or two outputs of tulu batch or more.")
    if count > len(LETTERS):
        raise UsageError(f"At most {len(LETTERS)} can be compared at a time, not {count}.")
    if chosen.models and chosen.source is None:
        raise UsageError("Name what the models are asked: a prompt, a file of rows, or - for rows.")
    if len(set(chosen.files)) < len(chosen.files):
        raise UsageError("A file is named twice: two different outputs can be compared.")
    if "-" in chosen.files:
        raise UsageError("The outputs must be files: they are not read from stdin.")


def _check_votes(chosen: CompareOptions) -> None:
    if chosen.json_output:
        raise UsageError("--blind keeps the votes as JSON in -o: leave --json out.")
    if chosen.output in (None, "-"):
        raise UsageError("--blind needs a file for the votes: name it with -o.")
    if chosen.resume and chosen.overwrite:
        raise UsageError("--resume and --overwrite cannot be combined.")
    path = Path(str(chosen.output))
    if path in {Path(name) for name in (*chosen.files, chosen.source or "-")}:
        raise UsageError("The votes would overwrite what they are on: name another file with -o.")
    if path.is_file() and path.stat().st_size and not (chosen.resume or chosen.overwrite):
        raise UsageError(
            f"{str(path)!r} is not empty: --resume goes on with it, --overwrite replaces it."
        )
