"""One input for several workers: each answers the rows of its own shard, into an output of its own.

A row's shard follows from the row alone: from its id, or where it has none, from its text. It is so
the same in every order of the input, and for every worker that names the same number of shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tulu_cli.batch.lines import digest
from tulu_cli.errors import UsageError

PLACE = "{shard}"
AUTO = "auto"
_MOST = 1_000_000
# The variables in which a scheduler numbers the workers of one job from 0, and counts them.
_RANKS = (("SKYPILOT_JOB_RANK", "SKYPILOT_NUM_JOBS"), ("SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"))


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shards, by its number from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, name: str | None, row: int) -> bool:
        """Return True for a row of this shard, by its id and the hash of its text."""
        hashed = row if name is None else digest(name.encode("utf-8", "surrogatepass"))
        return hashed % self.count == self.number - 1

    def named(self, path: str) -> str:
        """Return a path with the shard in the place of {shard}, as 3-of-8."""
        return path.replace(PLACE, f"{self.number}-of-{self.count}")


def read_shard(text: str, environ: Mapping[str, str]) -> Shard:
    """Return the shard of --shard, for auto the one that a scheduler gives. Raise UsageError."""
    if text == AUTO:
        return _slurm(environ) or _ranked(environ) or _nowhere()
    number, slash, count = text.partition("/")
    if not slash or not (_is_number(number) and _is_number(count)):
        raise UsageError(f"--shard takes NUMBER/COUNT, such as 3/8, or auto, not {text!r}.")
    return _checked(int(number), int(count), f"--shard {text}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _checked(number: int, count: int, source: str) -> Shard:
    if not 1 <= number <= count <= _MOST:
        raise UsageError(
            f"{source}: shards are numbered from 1 to their count, which is at most {_MOST:,}."
        )
    return Shard(number, count)


def _slurm(environ: Mapping[str, str]) -> Shard | None:
    """Return the shard of a task of a Slurm array, which may begin at any index, with any step."""
    if "SLURM_ARRAY_TASK_ID" not in environ:
        return None
    task = _read(environ, "SLURM_ARRAY_TASK_ID")
    count = _read(environ, "SLURM_ARRAY_TASK_COUNT")
    first = _read(environ, "SLURM_ARRAY_TASK_MIN")
    last = _read(environ, "SLURM_ARRAY_TASK_MAX")
    # Indices that are evenly spaced, which a list of some of them need not be.
    step, rest = divmod(last - first, count - 1) if count > 1 else (1, last - first)
    place, off = divmod(task - first, step) if step > 0 else (0, 1)
    if rest or off or not 0 <= place < count:
        raise UsageError(
            f"--shard auto: the {count:,} indices of this Slurm array are not evenly spaced from "
            f"{first} to {last}: name each task's shard with --shard NUMBER/COUNT."
        )
    return _checked(place + 1, count, "--shard auto")


def _ranked(environ: Mapping[str, str]) -> Shard | None:
    """Return the shard of a job of a SkyPilot pool, or of a node of a job of several nodes.

    Where there are several of both, each node of each job has one.
    """
    shard: Shard | None = None
    for rank, size in _RANKS:
        if rank in environ or size in environ:
            number, count = _read(environ, rank) + 1, _read(environ, size)
            made = _checked(number, count, "--shard auto")
            shard = made if shard is None else _within(shard, made)
    return shard


def _within(outer: Shard, inner: Shard) -> Shard:
    return Shard((outer.number - 1) * inner.count + inner.number, outer.count * inner.count)


def _read(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "")
    if not _is_number(text):
        raise UsageError(f"--shard auto: {name} is {text!r}, and not a number.")
    return int(text)


def _nowhere() -> Shard:
    raise UsageError(
        "--shard auto: this is no task of a Slurm array and no SkyPilot job: give --shard "
        "NUMBER/COUNT."
    )


def check_places(shard: Shard | None, text: str | None, paths: Mapping[str, str | None]) -> None:
    """Raise UsageError for a file that several shards would write, by the option that names it."""
    for option, path in paths.items():
        if path in (None, "-"):
            continue
        if shard is None and PLACE in str(path):
            raise UsageError(f"{option} has {PLACE}, and there is no --shard: leave it out.")
        if text == AUTO and PLACE not in str(path):
            raise UsageError(
                f"{option} {path} is the same for all shards: put {PLACE} into it, which becomes "
                f"{shard.named(PLACE) if shard else ''} here."
            )
