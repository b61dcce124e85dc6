"""The benchmarks of the model card: which can be measured here, and why the others cannot."""

from tulu_cli.errors import UsageError
from tulu_cli.evaluation.task import Task
from tulu_cli.evaluation.tasks import drop, gsm8k, humaneval, math, mmlu

# In the order of the card.
TASKS = {one.name: one for one in (mmlu.TASK, drop.TASK, math.TASK, gsm8k.TASK, humaneval.TASK)}
# The shortest answers, and no code to run.
QUICK = ("drop", "gsm8k")
# A name, its row of the card, and what it would need.
NOT_BUILT = {
    "popqa": ("PopQA", "its questions are not in the data that tulu fetches"),
    "truthfulqa": ("TruthfulQA", "it scores answers without their end token"),
    "bbh": ("BigBenchHard", "its questions are not in the data that tulu fetches"),
    "humaneval+": ("HumanEval+", "its tests are not in the data that tulu fetches"),
    "ifeval": ("IFEval", "its prompts are not in the data that tulu fetches"),
}
JUDGED = ("AlpacaEval 2", "Safety")
NEEDS_JUDGE = "needs a judge: not measured here"


def chosen(names: list[str]) -> list[Task]:
    """Return the tasks of these names, once each; none, or `all`, are all of them.

    Raise UsageError for a name that is not a task, and for a task that tulu does not have.
    """
    wanted: list[str] = []
    for name in names or ["all"]:
        if name == "all":
            wanted += TASKS
        elif name == "quick":
            wanted += QUICK
        elif name in TASKS:
            wanted.append(name)
        elif name in NOT_BUILT:
            benchmark, why = NOT_BUILT[name]
            raise UsageError(
                f"tulu eval cannot measure {benchmark} yet, as {why}: take {', '.join(TASKS)}."
            )
        else:
            raise UsageError(f"{name} is not a task: take {', '.join(TASKS)}, quick or all.")
    return [TASKS[name] for name in dict.fromkeys(wanted)]
