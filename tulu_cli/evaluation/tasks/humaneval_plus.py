"""HumanEval+, pass@10 of 20 samples: HumanEval's prompts with the tests of EvalPlus, by OLMES."""

from dataclasses import replace
from functools import partial

from tulu_cli.evaluation.tasks import humaneval

ROWS = "humaneval+.jsonl"

TASK = replace(
    humaneval.TASK,
    name="humaneval+",
    benchmark="HumanEval+",
    files=(ROWS,),
    items=partial(humaneval.items, name=ROWS),
    packages=("numpy",),  # which the tests compare numbers with
)
