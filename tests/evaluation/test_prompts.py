"""Golden prompts: what a Tülu 3 model is asked, character for character, by the definitions."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation import rows as small
from tulu_cli.errors import BadInput
from tulu_cli.evaluation.data import DataFolder
from tulu_cli.evaluation.rows import digest, drawn, row
from tulu_cli.evaluation.task import Item
from tulu_cli.evaluation.tasks import TASKS
from tulu_cli.prompt.builtin import FAMILY_EOS, tulu_template
from tulu_cli.prompt.render import render_messages


def rendered(item: Item) -> str:
    """The prompt that the Tülu 3 template makes of an item."""
    continues = item.messages[-1].role == "assistant"
    variables = {
        "messages": [message.as_dict() for message in item.messages],
        "add_generation_prompt": not continues,
        "eos_token": FAMILY_EOS,
    }
    return render_messages(tulu_template(), variables, continue_final=continues)


def only(path: Path, task: str) -> Item:
    """The one item of a task."""
    (item,) = TASKS[task].items(DataFolder(path))
    return item


def test_gsm8k_has_its_shots_as_turns_and_an_answer_that_has_begun(tmp_path: Path) -> None:
    row = {"question": "Three and 1,000?", "short_answer": "1,003"}
    item = only(small.folder(tmp_path, gsm8k=[row]), "gsm8k")
    assert rendered(item) == (
        "<|user|>\nQuestion: One and one?\n"
        "<|assistant|>\nAnswer: 1 + 1 = 2. So the answer is 2.<|end_of_text|>\n"
        "<|user|>\nQuestion: Two and two?\n"
        "<|assistant|>\nAnswer: 2 + 2 = 4. So the answer is 4.<|end_of_text|>\n"
        "<|user|>\nQuestion: Three and 1,000?\n"
        "<|assistant|>\nAnswer:"
    )
    assert item.label == "1003", "as answers lose the commas inside their numbers"


def test_math_has_its_shots_as_turns(tmp_path: Path) -> None:
    row = {"problem": "What is $2+2$?", "answer": "4", "subject": "algebra"}
    item = only(small.folder(tmp_path, math=[row]), "math")
    assert rendered(item) == (
        "<|user|>\nProblem:\nWhat is $1+1$?\n\nSolution:\n"
        "<|assistant|>\nIt is $\\boxed{2}$.\nFinal Answer: $2$.<|end_of_text|>\n"
        "<|user|>\nProblem:\nWhat is $2+2$?\n\nSolution:\n"
        "<|assistant|>\n"
    )
    assert (item.label, item.group) == ("4", "algebra")


def test_mmlu_asks_for_a_phrase_before_and_behind(tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": ["w", "x", "y", "z"], "answer": 2, "subject": "law"}
    item = only(small.folder(tmp_path, mmlu=[row]), "mmlu")
    assert rendered(item) == (
        "<|user|>\nAnswer the following multiple-choice question by giving the correct answer "
        "letter in parentheses. Provide CONCISE reasoning for the answer, and make sure to finish "
        'the response with "Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) is one '
        "of (A), (B), (C), (D).\n\n"
        "Question: Which?\n (A) w\n (B) x\n (C) y\n (D) z\n\n"
        "Answer the above question and REMEMBER to finish your response with the exact phrase "
        '"Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) is one of (A), (B), (C), '
        "(D).\n<|assistant|>\n"
    )
    assert (item.label, item.group) == ("C", "law")


def test_drop_has_three_shots_in_one_block(tmp_path: Path) -> None:
    row = {"passage": "Team Z won.", "question": "Who?", "answers": [["Team Z"]]}
    assert rendered(only(small.folder(tmp_path, drop=[row]), "drop")) == (
        "<|user|>\n"
        "Passage: Team A won.\nQuestion: Who won?\nAnswer: Team A\n\n"
        "Passage: Team B won.\nQuestion: Who won?\nAnswer: Team B\n\n"
        "Passage: Team C won.\nQuestion: Who won?\nAnswer: Team C\n\n"
        "Passage: Team Z won.\nQuestion: Who?\nAnswer:\n<|assistant|>\n"
    )


def test_humaneval_begins_the_answer(tmp_path: Path) -> None:
    assert rendered(only(small.folder(tmp_path, humaneval=[small.ADD]), "humaneval")) == (
        "<|user|>\ndef add(a, b):\n    '''Return the sum.'''\n\n"
        "<|assistant|>\nHere is the completed function:\n\n```python\n"
    )


def test_popqa_has_fifteen_shots_as_turns(tmp_path: Path) -> None:
    row = {"question": "Who is it?", "possible_answers": '["Ann", "A. B."]'}
    item = only(small.folder(tmp_path, popqa=[row]), "popqa")
    turns = "".join(
        f"<|user|>\nQ: Who is {at}? A:\n<|assistant|>\n{at}<|end_of_text|>\n" for at in range(15)
    )
    assert rendered(item) == f"{turns}<|user|>\nQ: Who is it? A:\n<|assistant|>\n"
    assert item.label == ["Ann", "A. B."]


def test_truthfulqa_has_six_shots_in_one_turn_and_compares_answers(tmp_path: Path) -> None:
    item = only(small.folder(tmp_path, truthfulqa=[small.TRUTHFULQA]), "truthfulqa")
    shots = "".join(f"Q: Is {name} true?\nA: Not {name}.\n\n" for name in "ABCDEF")
    assert rendered(item) == f"<|user|>\n{shots}Q: Is it?\nA:\n<|assistant|>\n"
    assert item.completions == ("It is not.", "No.", "It is.")
    assert item.label == [1, 1, 0]
    asked = json.loads(row(item, TASKS["truthfulqa"].sampling()))
    assert asked.keys() == {"id", "messages", "completions", "group", "label"}


def test_bbh_has_three_shots_of_the_subset_as_turns_and_says_what_it_is_about(
    tmp_path: Path,
) -> None:
    asked = {"subset": "navigate", "input": "Turn round.", "target": "Yes"}
    item = only(small.folder(tmp_path, bbh=[asked]), "bbh")
    steps = "A: Let's think step by step.\n"
    answer = "There are {}. So the answer is No.<|end_of_text|>\n"
    assert rendered(item) == (
        f"<|user|>\nDo you return?\n\nQ: Take 1 steps.\n{steps}<|assistant|>\n{answer.format(1)}"
        f"<|user|>\nQ: Take 2 steps.\n{steps}<|assistant|>\n{answer.format(2)}"
        f"<|user|>\nQ: Take 3 steps.\n{steps}<|assistant|>\n{answer.format(3)}"
        f"<|user|>\nQ: Turn round.\n{steps}<|assistant|>\n"
    )
    assert (item.label, item.group) == ({"subset": "navigate", "target": "Yes"}, "navigate")


def test_ifeval_is_asked_by_its_prompt_alone(tmp_path: Path) -> None:
    item = only(small.folder(tmp_path, ifeval=[small.IFEVAL]), "ifeval")
    assert rendered(item) == "<|user|>\nWrite without commas.\n<|assistant|>\n"
    assert item.label["instruction_id"] == small.IFEVAL["instruction_id_list"]


def test_humaneval_plus_has_the_prompts_of_humaneval_and_its_own_tests(tmp_path: Path) -> None:
    path = small.folder(tmp_path, **{"humaneval": [small.ADD], "humaneval+": [small.PLUS]})
    plain, plus = only(path, "humaneval"), only(path, "humaneval+")
    assert rendered(plus) == rendered(plain)
    assert "numpy" in plus.label["test"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mmlu", (2048, 0, 1, 1, [])),
        ("drop", (50, 0, 1, 1, ["Passage:", "Question:"])),
        ("math", (1024, 0, 1, 1, [])),
        ("gsm8k", (512, 0, 1, 1, ["Question:", "</s>", "<|im_end|>"])),
        ("humaneval", (512, 0.8, 0.95, 20, ["\nclass", "\nif", "\nprint", "\n#", "\n```"])),
        ("humaneval+", (512, 0.8, 0.95, 20, ["\nclass", "\nif", "\nprint", "\n#", "\n```"])),
        ("popqa", (15, 0, 1, 1, ["\n\n"])),
        ("bbh", (512, 0, 1, 1, [])),
        ("ifeval", (2048, 0, 1, 1, [])),
    ],
)
def test_sampling_is_the_authors_own(name: str, expected: tuple[object, ...]) -> None:
    made = TASKS[name].sampling()
    names = ("max_tokens", "temperature", "top_p", "n", "stop")
    assert tuple(made[key] for key in names) == expected
    assert (made["top_k"], made["min_p"], made["repetition_penalty"]) == (0, 0, 1)


def items(count: int, groups: int = 1) -> list[Item]:
    return [Item(str(number), (), None, str(number % groups)) for number in range(count)]


def test_a_larger_sample_goes_on_with_a_smaller_one() -> None:
    some, more = (drawn(items(500), limit, is_macro=False) for limit in (20, 60))
    assert more[:20] == some
    assert [item.id for item in some] != [str(number) for number in range(20)]
    assert sorted(drawn(items(500), None, is_macro=False), key=lambda one: int(one.id)) == items(
        500
    )


def test_groups_that_are_averaged_take_turns() -> None:
    uneven = [*items(100), *(Item(f"x{number}", (), None, "x") for number in range(4))]
    taken = [item.group for item in drawn(uneven, 8, is_macro=True)]
    assert sorted(taken) == ["0"] * 4 + ["x"] * 4
    assert sorted(taken[:2]) == ["0", "x"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question": "q"}], "has no short_answer"),
        ([[1]], "is not a JSON object"),
        ([], "has no rows"),
    ],
)
def test_rows_that_are_none_are_named(tmp_path: Path, rows: small.Rows, said: str) -> None:
    path = small.folder(tmp_path)
    small.write(path / "gsm8k.jsonl", rows)
    with pytest.raises(BadInput, match=said):
        TASKS["gsm8k"].items(DataFolder(path))


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"There is no math\.jsonl in"):
        TASKS["math"].items(DataFolder(small.folder(tmp_path), is_own=True))


IFEVAL, TRUTHFULQA = small.IFEVAL, small.TRUTHFULQA
NAVIGATE = {"subset": "navigate", "input": "x", "target": "Yes"}


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        *(
            (
                "mmlu",
                {"question": "q", "choices": ["w"], "answer": answer, "subject": "law"},
                "0 to 3",
            )
            for answer in (4, -1, "A", None, True)
        ),
        ("popqa", {"question": "q", "possible_answers": "Ann"}, "must be a list of texts"),
        ("popqa", {"question": "q", "possible_answers": []}, "must be a list of texts"),
        ("popqa", {"question": "q", "possible_answers": [1]}, "must be a list of texts"),
        ("truthfulqa", {"question": "q"}, "must have choices and labels"),
        ("truthfulqa", {"question": "q", "choices": ["a"], "labels": []}, "must have a label"),
        ("truthfulqa", {"question": "q", "choices": ["a"], "labels": [2]}, "must have a label"),
        ("truthfulqa", {"question": "q", "choices": [1], "labels": [1]}, "each choice must be a"),
        ("truthfulqa", {"question": "q", "choices": [" "], "labels": [1]}, "each choice must be a"),
        ("truthfulqa", {"question": "q", "mc2_targets": [1]}, "must be an object"),
        ("bbh", {**NAVIGATE, "target": True}, "line 1: target must be a text"),
        ("ifeval", {**IFEVAL, "prompt": None}, "line 1: prompt must be a text"),
        ("bbh", {**NAVIGATE, "subset": "sailing"}, "'sailing' is not a subset"),
        ("bbh", {**NAVIGATE, "subset": "snarks"}, "3 shots of snarks, the first with its descr"),
        ("ifeval", {**IFEVAL, "kwargs": []}, "must be lists of one length"),
        ("ifeval", {**IFEVAL, "instruction_id_list": [], "kwargs": []}, "has no instruction"),
        ("ifeval", {**IFEVAL, "instruction_id_list": ["x:y"], "kwargs": [None]}, "'x:y'"),
        ("ifeval", {**IFEVAL, "instruction_id_list": [["x"]], "kwargs": [{}]}, "must be a text"),
    ],
)
def test_a_row_of_another_form_is_refused(
    tmp_path: Path, task: str, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        TASKS[task].items(DataFolder(small.folder(tmp_path, **{task: [row]})))


# A row of each file of --data that its task takes.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "mmlu": ("mmlu", {"question": "q", "choices": ["w", "x"], "answer": 0, "subject": "law"}),
    "popqa": ("popqa", {"question": "q", "possible_answers": ["Ann"]}),
    "popqa-shots": ("popqa", dict(small.POPQA_SHOTS[0])),
    "truthfulqa": ("truthfulqa", TRUTHFULQA),
    "truthfulqa-shots": ("truthfulqa", dict(small.TRUTHFULQA_SHOTS[0])),
    "bbh": ("bbh", NAVIGATE),
    "bbh-shots": ("bbh", dict(small.BBH_SHOTS[0])),
    "drop": ("drop", {"passage": "p", "question": "q", "answers": [["1"]]}),
    "drop-shots": ("drop", dict(small.DROP_SHOTS[0])),
    "math": ("math", {"problem": "p", "answer": "1", "subject": "algebra"}),
    "math-shots": ("math", dict(small.MATH_SHOTS[0])),
    "gsm8k": ("gsm8k", {"question": "q", "short_answer": "1"}),
    "gsm8k-shots": ("gsm8k", dict(small.GSM8K_SHOTS[0])),
    "humaneval": ("humaneval", small.ADD),
    "humaneval+": ("humaneval+", small.PLUS),
    "ifeval": ("ifeval", IFEVAL),
}
WRONG: tuple[Any, ...] = (
    5,
    -1.5,
    True,
    None,
    [],
    {},
    [5],
    [None],
    [[]],
    [[5]],
    {"x": 1},
    {"choices": 5},
)


def with_row(folder: Path, name: str, changes: dict[str, Any]) -> DataFolder:
    """A folder with a row of each file, and changes to the first one of a file."""
    for file, (_, one) in ROWS.items():
        path = folder / f"{file}.jsonl"
        if not file.endswith("-shots"):
            small.write(path, [one])
        if file == name:
            first, *rest = map(json.loads, path.read_text().splitlines())
            small.write(path, [first | changes, *rest])
    return DataFolder(folder)


@pytest.mark.parametrize("name", [*ROWS])
def test_a_field_of_another_type_is_refused(tmp_path: Path, name: str) -> None:
    path = small.folder(tmp_path)
    task, fields = ROWS[name]
    assert {one for one, _ in ROWS.values()} == TASKS.keys()
    assert TASKS[task].items(with_row(path, name, {}))
    unread = {"key"}
    for field in fields.keys() - unread:
        for value in WRONG:
            with pytest.raises(BadInput, match=name.replace("+", r"\+")):
                TASKS[task].items(with_row(path, name, {field: value}))


def test_other_shots_than_those_of_the_definition_are_refused(tmp_path: Path) -> None:
    path = small.folder(tmp_path, truthfulqa=[TRUTHFULQA])
    small.write(path / "truthfulqa-shots.jsonl", small.TRUTHFULQA_SHOTS[:5])
    with pytest.raises(BadInput, match="must have 6 shots, not 5"):
        TASKS["truthfulqa"].items(DataFolder(path))


def test_rows_are_told_from_others_by_what_is_asked_and_what_is_right(tmp_path: Path) -> None:
    asked = {"question": "Three?", "short_answer": "3"}

    def made(name: str, **changes: str) -> str:
        path = small.folder(tmp_path / name, gsm8k=[asked | changes])
        return digest(TASKS["gsm8k"].items(DataFolder(path)))

    first = made("a")
    assert made("b", id="0", note="x") == first, "fields that nobody reads are left aside"
    assert len({first, made("c", question="Four?"), made("d", short_answer="4")}) == 3
    path = small.folder(tmp_path / "e", gsm8k=[asked])
    small.write(path / "gsm8k-shots.jsonl", small.GSM8K_SHOTS[::-1])
    assert digest(TASKS["gsm8k"].items(DataFolder(path))) != first
