"""HumanEval, pass@10 of 20 samples: `codex_humaneval::tulu` of OLMES."""

from typing import Any

from tulu_cli.core import Message
from tulu_cli.evaluation.data import DataFolder
from tulu_cli.evaluation.task import Item, Task

ROWS = "humaneval.jsonl"
PREFIX = "Here is the completed function:\n\n```python\n"
K = 10


def items(data: DataFolder, name: str = ROWS) -> list[Item]:
    """Return the rows of a file: the function to complete, and an answer that has begun."""
    return [
        Item(
            row["task_id"],
            (Message("user", row["prompt"]), Message("assistant", PREFIX)),
            {key: row[key] for key in ("prompt", "test", "entry_point")},
        )
        for row in data.read(name, texts=["task_id", "prompt", "test", "entry_point"])
    ]


def program(text: str, label: Any) -> str:
    """Return the program that ends without an error if an answer is right."""
    return f"{label['prompt']}{text}\n{label['test']}\ncheck({label['entry_point']})\n"


TASK = Task(
    name="humaneval",
    benchmark="HumanEval",
    published_rows=164,
    files=(ROWS,),
    items=items,
    grade=None,
    max_tokens=512,
    stop=("\nclass", "\nif", "\nprint", "\n#", "\n```"),
    samples=20,
    temperature=0.8,
    top_p=0.95,
    measure="pass@10",
)
