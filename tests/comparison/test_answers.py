"""Outputs of batches side by side: what belongs together, and what has no partner."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.batch.journal import Key
from tulu_cli.batch.outputs import open_output
from tulu_cli.batch.rows import Row
from tulu_cli.comparison.answers import Side, compared, read_answer, unpaired
from tulu_cli.errors import BadInput


def record(line: int, row: int, text: str = "", **rest: Any) -> str:
    made = {"line": line, "id": None, "text": text, "key": str(Key(line, row, 7)), **rest}
    return json.dumps(made) + "\n"


@contextmanager
def sides(folder: Path, *texts: str) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        made = []
        for number, text in enumerate(texts):
            path = folder / f"{number}.jsonl"
            path.write_text(text)
            made.append(Side(path.name, stack.enter_context(open_output(path))))
        yield made


def found(some: Sequence[Side], rows: list[Row] | None = None, **options: bool) -> list[Any]:
    return [
        (one.line, *(answer and answer.text for answer in one.answers))
        for one in compared(some, rows, **options)
    ]


def test_rows_are_paired_by_what_they_ask_in_any_order_and_on_any_line(tmp_path: Path) -> None:
    first = record(2, 20, "a20") + record(1, 10, "a10") + record(3, 30, "a30")
    second = record(5, 10, "b10") + record(1, 20, "b20") + record(2, 40, "b40")
    with sides(tmp_path, first, second) as some:
        assert found(some) == [(1, "a10", "b10"), (2, "a20", "b20")]
        assert unpaired(some) == [1, 1]
        asked = [Row(7, 20, "x"), Row(8, 40, "x"), Row(9, 10, "x"), Row(10, 50, "x")]
        assert found(some, asked) == [(7, "a20", "b20"), (9, "a10", "b10")]
        whole = [(7, "a20", "b20"), (8, None, "b40"), (9, "a10", "b10")]
        assert found(some, asked, whole=False) == whole


def test_equal_rows_are_paired_in_their_order(tmp_path: Path) -> None:
    first = record(4, 10, "a second") + record(1, 10, "a first")
    second = record(2, 10, "b first") + record(3, 10, "b second") + record(9, 10, "b third")
    with sides(tmp_path, first, second) as some:
        assert found(some) == [(1, "a first", "b first"), (4, "a second", "b second")]
        assert unpaired(some) == [0, 1]


def test_a_record_without_an_end_is_left_out_and_a_foreign_line_is_not(tmp_path: Path) -> None:
    with sides(tmp_path, record(1, 10, "a") + '{"line": 2', record(1, 10, "b").rstrip()) as some:
        assert [side.is_torn for side in some] == [True, False]
        assert found(some) == [(1, "a", "b")]
    foreign = record(1, 10) + '{"text": "x"}\n'
    with (
        pytest.raises(BadInput, match=r"1.jsonl', line 2, is not a record of tulu batch"),
        sides(tmp_path, "", foreign),
    ):
        pass


def openai(body: Any) -> dict[str, Any]:
    return {"custom_id": "x", "error": None, "response": {"status_code": 200, "body": body}}


@pytest.mark.parametrize(
    ("value", "text", "reason", "others"),
    [
        ({"text": "a", "finish_reason": "stop"}, "a", "stop", 0),
        ({"text": "a", "finish_reason": "length", "choices": [{}, {}]}, "a", "length", 1),
        (openai({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}),
         "a", "stop", 0),
        (openai({"choices": [{"text": "a"}, {"text": "b"}]}), "a", None, 1),
    ],
)  # fmt: skip
def test_an_answer_is_read_from_both_formats(
    value: dict[str, Any], text: str, reason: str | None, others: int
) -> None:
    answer = read_answer(value, "x")
    assert (answer.text, answer.finish_reason, answer.others) == (text, reason, others)
    assert answer.error is None


def test_an_error_is_no_answer_and_scores_are_refused() -> None:
    answer = read_answer({"error": {"code": "bad_input", "message": "no"}}, "x")
    assert (answer.error, answer.as_object()["finish_reason"]) == ("no", "error")
    for value in ({"logprob": -1.0}, openai({}), openai({"choices": [3]})):
        with pytest.raises(BadInput, match="has no answer"):
            read_answer(value, "x")
