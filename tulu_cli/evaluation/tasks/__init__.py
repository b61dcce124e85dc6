"""The benchmarks of the model card that can be measured here, and those that need a judge."""

from tulu_cli.errors import UsageError
from tulu_cli.evaluation.task import Task
from tulu_cli.evaluation.tasks import (
    bbh,
    drop,
    gsm8k,
    humaneval,
    humaneval_plus,
    ifeval,
    math,
    mmlu,
    popqa,
    truthfulqa,
)

# In the order of the card.
TASKS: dict[str, Task] = {
    module.TASK.name: module.TASK
    for module in (
        mmlu,
        popqa,
        truthfulqa,
        bbh,
        drop,
        math,
        gsm8k,
        humaneval,
        humaneval_plus,
        ifeval,
    )
}
# The shortest answers, and no code to run.
QUICK = ("drop", "gsm8k")
JUDGED = ("AlpacaEval 2", "Safety")
NEEDS_JUDGE = "needs a judge: not measured here"


ALL = "all"


def chosen(names: list[str]) -> tuple[list[Task], frozenset[str]]:
    """Return the tasks of these names, once each, and which of them were named one by one.

    No name, or `all`, stands for all of them. Raise UsageError for a name that is not a task.
    """
    wanted: list[str] = []
    for name in names or [ALL]:
        if name == ALL:
            wanted += TASKS
        elif name == "quick":
            wanted += QUICK
        elif name in TASKS:
            wanted.append(name)
        else:
            raise UsageError(f"{name} is not a task: take {', '.join(TASKS)}, quick or {ALL}.")
    named = frozenset(QUICK if "quick" in names else ()) | TASKS.keys() & set(names)
    return [TASKS[name] for name in dict.fromkeys(wanted)], named
