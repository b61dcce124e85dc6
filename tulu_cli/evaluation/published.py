"""The datasets that the Hub has, each as files of rows."""

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tulu_cli.errors import BadInput
from tulu_cli.evaluation.files import Files, Row
from tulu_cli.evaluation.hub import HubRows

# OLMES' 15 shots are questions of PopQA's own, in this order. Each is known by the first 16 digits
# of the SHA-256 of the question, a tab, and the one of its answers that stands in the shot.
POPQA_SHOTS = (
    "a08b059beb42338b",
    "b562facb69872734",
    "51edf53c4ae8d3d7",
    "df913599278fedf8",
    "0675a5b2d1464b21",
    "bb8128420a0243cb",
    "6f6c0f986d3b392d",
    "49817b66367eef0c",
    "b46502cac7c4cb34",
    "c92fbb1022de45cc",
    "dec4e2bc24ee9e8e",
    "fceac3776137e456",
    "4675c813369b90bf",
    "89c8aec09b434b85",
    "afa8df9f58bdd9b2",
)
# Each has a folder of its own on the Hub.
BBH_SUBSETS = (
    "boolean_expressions",
    "causal_judgement",
    "date_understanding",
    "disambiguation_qa",
    "dyck_languages",
    "formal_fallacies",
    "geometric_shapes",
    "hyperbaton",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "movie_recommendation",
    "multistep_arithmetic_two",
    "navigate",
    "object_counting",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
    "snarks",
    "sports_understanding",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
    "web_of_lies",
    "word_sorting",
)


def _popqa(fetched: Sequence[Path]) -> Files:
    with fetched[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    shots = {
        _digest(row["question"], answer): {"question": row["question"], "answer": answer}
        for row in rows
        for answer in json.loads(row["possible_answers"])
    }
    if missing := [digest for digest in POPQA_SHOTS if digest not in shots]:
        raise BadInput(
            f"{len(missing)} of the 15 shots of PopQA are not among its rows: --data takes a "
            "folder with popqa.jsonl and popqa-shots.jsonl."
        )
    return {
        "popqa.jsonl": (
            {name: row[name] for name in ("question", "possible_answers")} for row in rows
        ),
        "popqa-shots.jsonl": [shots[digest] for digest in POPQA_SHOTS],
    }


def _digest(question: str, answer: str) -> str:
    return hashlib.sha256(f"{question}\t{answer}".encode()).hexdigest()[:16]


def _truthfulqa(fetched: Sequence[Path]) -> Files:
    return {"truthfulqa.jsonl": _parquet(fetched[0], "question", "mc2_targets")}


def _bbh(fetched: Sequence[Path]) -> Files:
    return {
        "bbh.jsonl": (
            {"subset": subset, **row}
            for subset, path in zip(BBH_SUBSETS, fetched, strict=True)
            for row in _parquet(path, "input", "target")
        )
    }


def _humaneval_plus(fetched: Sequence[Path]) -> Files:
    names = ("task_id", "prompt", "test", "entry_point")
    return {"humaneval+.jsonl": _parquet(fetched[0], *names)}


def _ifeval(fetched: Sequence[Path]) -> Files:
    with fetched[0].open(encoding="utf-8") as file:
        return {"ifeval.jsonl": [json.loads(line) for line in file if line.strip()]}


def _parquet(path: Path, *names: str) -> Iterator[Row]:
    """Yield the rows of a Parquet file, with these columns of texts or objects. Raise BadInput."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            columns = file.read(columns=list(names), use_threads=False)
        for row in columns.to_pylist():
            if not all(isinstance(row[name], (str, dict)) for name in names):
                raise ValueError(row)
            yield {name: row[name] for name in names}
    except (ArrowException, KeyError, OSError, ValueError) as error:
        raise BadInput(
            f"{path.name!r} is not a Parquet file of {', '.join(names)}: it was not used."
        ) from error


POPQA = HubRows(
    "akariasai/PopQA",
    "098765c79ea10a2cb19c828324e33281b8336ec0",
    ("test.tsv",),
    ("popqa.jsonl", "popqa-shots.jsonl"),
    _popqa,
    sha256="9a5227f41bff0e4c331d4a774d946b12f95307892b58f860a9606ef356e6089b",
)
TRUTHFULQA = HubRows(
    "truthfulqa/truthful_qa",
    "741b8276f2d1982aa3d5b832d3ee81ed3b896490",
    ("multiple_choice/validation-00000-of-00001.parquet",),
    ("truthfulqa.jsonl",),
    _truthfulqa,
    sha256="23f08e230ca4ed66babf3a72419af7cbde1f3d734dd396ac4cf6d088bd162afd",
)
# The hash is of the rows that the authors keep themselves, as JSON at commit 9ee07bd of
# github.com/suzgunmirac/BIG-Bench-Hard: the Hub's files are a copy of those.
BBH = HubRows(
    "lukaemon/bbh",
    "982bb89fd79532a8ac676a61fc42eb1aeec63f99",
    tuple(f"{subset}/test-00000-of-00001.parquet" for subset in BBH_SUBSETS),
    ("bbh.jsonl",),
    _bbh,
    made_sha256="178c5831cd2ea538d3a3d32a4579e14e58d29963c38177a74897beb2df19fca5",
)
# Of the repository's two files this is the one that the Hub's library loads, as OLMES does.
HUMANEVAL_PLUS = HubRows(
    "evalplus/humanevalplus",
    "d32357cf319e50e9c8d8dab5ea876c72b0fd321b",
    ("data/test-00000-of-00001-5973903632b82d40.parquet",),
    ("humaneval+.jsonl",),
    _humaneval_plus,
    sha256="4436f5c03d77c17e0cbc57543b90665b5c1266f55a43992a5ed7922cd34a7558",
)
IFEVAL = HubRows(
    "google/IFEval",
    "966cd89545d6b6acfd7638bc708b98261ca58e84",
    ("ifeval_input_data.jsonl",),
    ("ifeval.jsonl",),
    _ifeval,
    sha256="6a85310ca8ce15eff755aa08a3a4ff931c7e273e7515ebb3c492ea85fd8288f2",
)
