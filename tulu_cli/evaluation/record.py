"""What a folder of results says of the run that made it: run.json, and the files beside it.

DIR/run.json               the model, the engine, and what was asked of each task
DIR/TASK.prompts.jsonl     the rows of a task, as `tulu batch` takes them
DIR/TASK.jsonl             its answers, as `tulu batch` writes them, with their grades
DIR/TASK.ran.jsonl         how the programs ended that its answers are
DIR/report.md, .html       the table; the page has a picture of the intervals too
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tulu_cli.disk import read_json, replace_atomically, writing
from tulu_cli.errors import BadInput

RUN, REPORT, PAGE = "run.json", "report.md", "report.html"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of one task: `rows` of the `total` that its data have.

    `rows_sha256` tells all of these from others, with their shots and labels; None in a record of
    an older program. `engine`, `device`, `dtype` and `versions` are known once an engine has been
    loaded.
    """

    rows: int
    total: int
    max_tokens: int
    samples: int
    own_data: str | None = None
    rows_sha256: str | None = None
    engine: str | None = None
    device: str | None = None
    dtype: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How the answers of a folder were made, and the alias whose card they are compared with."""

    model: str
    revision: str | None
    card: str | None
    quantization: str | None
    max_model_len: int | None
    template_sha256: str | None
    is_tulu_template: bool
    server: str | None
    adapter: str | None = None
    adapter_sha256: str | None = None
    tasks: Mapping[str, Asked] = field(default_factory=dict)

    def with_task(self, name: str, asked: Asked) -> "RunRecord":
        """Return the record with one more task."""
        return replace(self, tasks={**self.tasks, name: asked})

    def write(self, folder: Path) -> None:
        """Write the record into its folder. Raise TuluError if that cannot be done."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        with writing(folder / RUN):
            replace_atomically(folder / RUN, text.encode(), mode=0o644)


_Record = TypeVar("_Record", Asked, RunRecord)


def read_record(folder: Path) -> RunRecord | None:
    """Return the record of a folder, None if it has none. Raise BadInput if it cannot be read."""
    path = folder / RUN
    if not path.is_file():
        return None
    try:
        value: dict[str, Any] = read_json(path)
        tasks = {name: _checked(Asked(**one)) for name, one in value.pop("tasks").items()}
        return _checked(RunRecord(**value, tasks=tasks))
    except (TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{str(path)!r} is not the record of a run of tulu eval.") from error


def _checked(made: _Record) -> _Record:
    """Return a record whose fields have the types that they are declared with. Raise TypeError."""
    for name, kind in get_type_hints(type(made)).items():
        value = getattr(made, name)
        if get_origin(kind) is Mapping:
            keys, values = get_args(kind)
            is_right = isinstance(value, Mapping) and all(
                isinstance(key, keys) and isinstance(one, values) for key, one in value.items()
            )
        else:
            # To Python a bool is an int too.
            is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not is_right:
            raise TypeError(f"{name} is {value!r}")
    return made


def prompts(folder: Path, task: str) -> Path:
    """Return the file of a task's rows."""
    return folder / f"{task}.prompts.jsonl"


def answers(folder: Path, task: str) -> Path:
    """Return the file of a task's answers."""
    return folder / f"{task}.jsonl"


def ran(folder: Path, task: str) -> Path:
    """Return the file that says how a task's programs ended."""
    return folder / f"{task}.ran.jsonl"


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of answers, of which a kill may have torn the last line.

    Raise BadInput for a line that is not a record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        if not line or number == len(lines):
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{str(path)!r}, line {number:,}, is not JSON.") from error
        if not isinstance(value, dict) or "id" not in value:
            raise BadInput(f"{str(path)!r}, line {number:,}, is not a record of tulu eval.")
        yield value
