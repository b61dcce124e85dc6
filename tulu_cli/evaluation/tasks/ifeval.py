"""IFEval, graded by all instructions of a prompt, loosely: `ifeval::tulu` of OLMES."""

from typing import Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.data import DataFolder
from tulu_cli.evaluation.task import Grade, Item, Task
from tulu_cli.verify.ifeval import check, follows

ROWS = "ifeval.jsonl"


def items(data: DataFolder) -> list[Item]:
    """Return the rows: the prompt alone, and its instructions with their arguments."""
    rows = data.read(ROWS, "instruction_id_list", "kwargs", texts=["prompt"])
    return [
        Item(str(number), (Message("user", row["prompt"]),), _label(row))
        for number, row in enumerate(rows)
    ]


def _label(row: dict[str, Any]) -> dict[str, Any]:
    names, given = row["instruction_id_list"], row["kwargs"]
    if not isinstance(names, list) or not isinstance(given, list) or len(names) != len(given):
        raise BadInput(f"{ROWS}: instruction_id_list and kwargs must be lists of one length.")
    if not names:
        raise BadInput(f"{ROWS}: a prompt has no instruction.")
    for name, one in zip(names, given, strict=True):
        if not isinstance(name, str) or not isinstance(one or {}, dict):
            raise BadInput(f"{ROWS}: an instruction must be a text, and its kwargs an object.")
        follows(name, "x", one or {})  # what is wrong with it is said before anything is asked
    return {"instruction_id": names, "kwargs": given}


def grade(text: str, label: Any) -> Grade:
    """Check each instruction in the answer, and in what it becomes without what frames it.

    The score is 1 if all are followed, each in any of these texts. Beside it are counted: all
    followed by the answer as it is, and the instructions that are followed, either way.
    """
    names, given = label["instruction_id"], label["kwargs"]
    asked = [(name, kwargs or {}) for name, kwargs in zip(names, given, strict=True)]
    strict = [_follows(name, text, kwargs) for name, kwargs in asked]
    texts = loosened(text)
    loose = [
        followed or any(_follows(name, one, kwargs) for one in texts)
        for followed, (name, kwargs) in zip(strict, asked, strict=True)
    ]
    beside = {
        "prompts, strict": (int(all(strict)), 1),
        "instructions, loose": (sum(loose), len(loose)),
        "instructions, strict": (sum(strict), len(strict)),
    }
    failed = [name for name, followed in zip(names, loose, strict=True) if not followed]
    return Grade(float(not failed), f"not {', '.join(failed)}" if failed else None, beside)


def loosened(text: str) -> list[str]:
    """Return the text without its first line, its last one, both, and each without asterisks."""
    lines = text.split("\n")
    cut = [text, *("\n".join(some).strip() for some in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut[1:], *(one.replace("*", "") for one in cut)]


def _follows(name: str, text: str, given: Any) -> bool:
    # An empty text follows nothing; but a wrong label is told whatever the text is.
    return follows(name, text, given) and bool(text.strip())


TASK = Task(
    name="ifeval",
    benchmark="IFEval",
    published_rows=541,
    files=(ROWS,),
    items=items,
    grade=grade,
    max_tokens=2048,
    check=check,
)
