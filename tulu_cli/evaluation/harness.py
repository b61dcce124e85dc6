"""The wheel of lm-evaluation-harness, which carries the shots of TruthfulQA and BIG-Bench Hard."""

import zipfile
from collections.abc import Iterator
from typing import Any

from tulu_cli.evaluation.files import Files, Row
from tulu_cli.evaluation.published import BBH_SUBSETS
from tulu_cli.evaluation.wheel import WheelRows

_TASKS = "lm_eval/tasks"


def _files(archive: zipfile.ZipFile) -> Files:
    return {
        "truthfulqa-shots.jsonl": _truthfulqa(_task(archive, "truthfulqa/truthfulqa_mc1")),
        "bbh-shots.jsonl": (
            shot
            for subset in BBH_SUBSETS
            for shot in _bbh(subset, _task(archive, f"bbh/cot_fewshot/{subset}"))
        ),
    }


def _task(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    import yaml

    value: dict[str, Any] = yaml.safe_load(archive.read(f"{_TASKS}/{name}.yaml"))
    return value


def _truthfulqa(task: dict[str, Any]) -> Iterator[Row]:
    """Yield the questions and answers that stand before each question, in quotes in a template."""
    prompt = task["doc_to_text"].partition("'")[2].partition("'")[0]
    for block in prompt.strip().split("\n\n"):
        question, _, answer = block.removeprefix("Q: ").partition("\nA: ")
        yield {"question": question, "answer": answer}


def _bbh(subset: str, task: dict[str, Any]) -> Iterator[Row]:
    for shot in task["fewshot_config"]["samples"]:
        yield {
            "subset": subset,
            "description": task["description"],
            "input": shot["input"],
            "target": shot["target"],
        }


HARNESS = WheelRows(
    "lm-eval==0.4.13",
    "5daaa1973bf874005f64f28d3834b875f6886f0d6475878e6a6c821994a5286a",
    9_149_387,
    2**20,
    "lm-eval-0.4.13-1",
    ("truthfulqa-shots.jsonl", "bbh-shots.jsonl"),
    _files,
    variable="TULU_LM_EVAL_WHEEL",
)
