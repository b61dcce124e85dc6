"""Figures beside the card's: verdicts, what cannot be compared, and how a run is shown."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints
from xml.etree import ElementTree as ET

import pytest

from tulu_cli.errors import BadInput
from tulu_cli.evaluation.compare import as_lines as pairs_as_lines
from tulu_cli.evaluation.compare import as_object as pairs_as_object
from tulu_cli.evaluation.compare import compare
from tulu_cli.evaluation.page import as_html, picture
from tulu_cli.evaluation.record import Asked, RunRecord
from tulu_cli.evaluation.report import as_lines, as_markdown, as_object
from tulu_cli.evaluation.results import card_score, card_table, read_run, verdict
from tulu_cli.evaluation.tasks import JUDGED, TASKS
from tulu_cli.statistics import estimate

GSM8K = TASKS["gsm8k"]


def run_record(card: str | None = "8b", name: str = "gsm8k", **asked: object) -> RunRecord:
    """The record of a run of a task that differs from the authors' in nothing, but for `asked`."""
    whole = {"rows": 1319, "total": 1319, "max_tokens": 512, "samples": 1}
    seen = {"engine": "vllm", "device": "cuda", "dtype": "bfloat16"}
    task = Asked(**{**whole, **seen, **asked})  # type: ignore[arg-type]
    return RunRecord(
        model="allenai/Llama-3.1-Tulu-3-8B",
        revision="abc",
        card=card,
        quantization=None,
        max_model_len=8192,
        template_sha256="0" * 64,
        is_tulu_template=True,
        server=None,
        tasks={name: task},
    )


def kept(
    folder: Path,
    made: RunRecord,
    right: int,
    wrong: int,
    reason: str = "stop",
    name: str = "gsm8k",
) -> Path:
    """A folder with so many right and wrong answers."""
    folder.mkdir(exist_ok=True)
    made.write(folder)
    rows = [
        {
            "id": str(at),
            "text": "x",
            "finish_reason": reason,
            "columns": {"group": "", "label": "1"},
            "score": float(at < right),
        }
        for at in range(right + wrong)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("right", "expected"),
    # The card says 87.6: 1,155 of 1,319. Both have 1.8 points to each side, together 2.5.
    [(1155, "within"), (1125, "within"), (1185, "within"), (1115, "below"), (1195, "above")],
)
def test_a_verdict_counts_the_chance_of_both_values(
    tmp_path: Path, right: int, expected: str
) -> None:
    _, (one,) = read_run(kept(tmp_path, run_record(), right, 1319 - right))
    assert (one.card, one.verdict) == (87.6, expected)
    assert (one.breaks, one.notes) == ((), ())


def test_few_rows_are_within_more() -> None:
    few, many = (estimate([1.0] * (8 * n) + [0.0] * (2 * n), [""] * 10 * n) for n in (2, 100))
    assert verdict(few, 87.6, GSM8K) == "within"
    assert verdict(many, 87.6, GSM8K) == "below"
    assert verdict(None, 87.6, GSM8K) == verdict(few, None, GSM8K) == "not comparable"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"max_tokens": 256}, "256 tokens an answer, not 512"),
        ({"own_data": "/rows"}, "the rows are of /rows"),
        ({"rows": 1400}, "not asked yet: 81 rows"),
    ],
)
def test_what_makes_another_quantity_is_not_compared(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    _, (one,) = read_run(kept(tmp_path, run_record(**changed), 1155, 164))
    assert one.verdict == "not comparable"
    assert one.breaks == (reason,)


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"engine": "transformers"}, "engine transformers, not vLLM"),
        ({"dtype": "float16"}, "dtype float16, not bfloat16"),
        ({"total": 2000}, "1,319 of 2,000 rows, drawn by chance"),
    ],
)
def test_what_may_be_tested_is_compared_and_noted(
    tmp_path: Path, changed: dict[str, Any], note: str
) -> None:
    _, (one,) = read_run(kept(tmp_path, run_record(**changed), 1155, 164))
    assert (one.verdict, one.notes) == ("within", (note,))


def test_rows_that_had_to_be_given_are_compared_if_they_are_as_many(tmp_path: Path) -> None:
    given: dict[str, Any] = {"total": 541, "own_data": "/rows", "max_tokens": 2048}
    unchecked = "the rows are of /rows, as many as the authors' and unchecked"
    for total, breaks, notes in ((541, (), (unchecked,)), (540, ("the rows are of /rows",), ())):
        made = run_record(**{**given, "total": total}, rows=total, name="ifeval")
        _, (one,) = read_run(kept(tmp_path / str(total), made, 446, total - 446, name="ifeval"))
        assert (one.breaks, one.notes) == (breaks, notes)
        assert one.verdict == ("not comparable" if breaks else "within")


def test_what_else_a_definition_counts_is_shown_beside(tmp_path: Path) -> None:
    made = run_record(rows=2, total=541, max_tokens=2048, name="ifeval")
    folder = kept(tmp_path, made, 1, 1, name="ifeval")
    rows = [json.loads(line) for line in (folder / "ifeval.jsonl").read_text().splitlines()]
    for row, counts in zip(rows, ((1, 1), (1, 3)), strict=True):
        row["beside"] = {"instructions, loose": counts}
    (folder / "ifeval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, (one,) = read_run(folder)
    assert one.beside == {"instructions, loose": 0.5}
    assert "  beside: instructions, loose 50.0" in as_lines(made, [one], bars=False, utf8=True)
    assert as_object(made, [one])["tasks"]["ifeval"]["beside"] == {"instructions, loose": 0.5}


def test_drop_is_not_compared_as_its_shots_and_rows_are_others() -> None:
    assert len(TASKS["drop"].differs) == 2


def test_the_card_has_no_value_for_another_model(tmp_path: Path) -> None:
    _, (one,) = read_run(kept(tmp_path, run_record(card=None), 5, 5))
    assert (one.card, one.verdict) == (None, "not comparable")
    assert "the card has no value for this model" in one.breaks


def test_every_task_is_a_row_of_the_card() -> None:
    names = [task.benchmark for task in TASKS.values()]
    assert all(card_score(name, alias) for name in names for alias in ("8b", "70b", "8b-sft"))
    rows = card_table("8b")
    assert rows is not None
    assert [one.benchmark for one in rows.rows] == ["Avg.", *names, *JUDGED], "and no row is left"
    assert card_score("GSM8K", "70b") == 93.5
    assert card_score("GSM8K", "3.1-8b") is card_score("GSM8K", "demo") is None


def test_bars_show_the_interval_and_the_card(tmp_path: Path) -> None:
    made, results = read_run(kept(tmp_path, run_record(), 50, 50, reason="length"))
    lines = as_lines(made, results, bars=True, utf8=False)
    (bar,) = [line for line in lines if line.startswith("gsm8k       .")]
    assert bar == "gsm8k       " + "." * 16 + "====o===" + "." * 11 + "|" + "." * 4
    assert "0 to 100 %: o yours, = its 95 % interval, | the card" in "\n".join(lines)
    assert "  cut by the limit of tokens: 100 answers" in lines
    assert "●" in "\n".join(as_lines(made, results, bars=True, utf8=True))
    assert not any(
        line.startswith("gsm8k       .") for line in as_lines(made, results, bars=False, utf8=False)
    )


def test_json_and_markdown_have_the_same_figures(tmp_path: Path) -> None:
    made, results = read_run(kept(tmp_path, run_record(), 1155, 164))
    value = as_object(made, results)
    task = value["tasks"]["gsm8k"]
    assert (task["value"], task["n"], task["verdict"]) == (round(1155 / 1319, 6), 1319, "within")
    assert task["low"] < 0.876 < task["high"]
    assert value["not_measured"] == {"AlpacaEval 2": 34.5, "Safety": 85.5}
    page = as_markdown(made, results)
    assert "| gsm8k | 87.6 | 87.6 | 85.7 to 89.2 | 1,319 | within |" in page
    assert page.startswith("# allenai/Llama-3.1-Tulu-3-8B, beside the card of 8b\n")
    assert "reproduced" not in page


def test_the_page_is_whole_in_itself_and_names_are_text_in_it(tmp_path: Path) -> None:
    odd = "</title><script>alert(1)</script>\"'&\x1b"
    made = replace(run_record(own_data=odd), model=odd)
    text = as_html(*read_run(kept(tmp_path, made, 1155, 164)))
    assert "<script" not in text.lower()
    assert "\x1b" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    # All of it is well-formed, but for the head of HTML, whose elements have no end.
    body = ET.fromstring(text[text.index("<body>") : text.index("</html>")])
    assert odd.replace("\x1b", "␛") in str(body.findtext("h1"))
    rows = [[cell.text for cell in row] for row in body.iter("tr")]
    assert rows[1] == ["gsm8k", "87.6", "87.6", "85.7 to 89.2", "1,319", "not comparable"]
    assert [row[0] for row in rows[2:]] == list(JUDGED)
    assert all(row[-1] == "needs a judge: not measured here" for row in rows[2:])


def test_a_picture_has_each_interval_in_its_place_beside_the_card(tmp_path: Path) -> None:
    _, results = read_run(kept(tmp_path, run_record(), 660, 660))
    drawn = ET.fromstring(picture(results))
    (group,) = drawn.findall("g")
    assert group.findtext("title") == "gsm8k: 50.0, 47.3 to 52.7; the card: 87.6"
    interval, card = group.findall("line")
    left, right = (float(interval.attrib[name]) for name in ("x1", "x2"))
    (dot,) = group.findall("circle")
    assert float(dot.attrib["cx"]) == pytest.approx((left + right) / 2, abs=0.1)
    across = [float(line.attrib["x1"]) for line in drawn.findall("line[@class='grid']")]
    whole = across[-1] - across[0]
    assert (right - left) / whole == pytest.approx(0.0538, abs=0.001)
    assert (float(card.attrib["x1"]) - across[0]) / whole == pytest.approx(0.876, abs=0.001)
    assert picture([]) == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", "[]"),
        ("run.json", '{"tasks": 3}'),
        ("gsm8k.jsonl", "x\n"),
        ("gsm8k.jsonl", "[]\n"),
        ("gsm8k.jsonl", '{"id": "1", "score": 1}\n'),
        ("gsm8k.jsonl", '{"id": "1", "score": "x", "finish_reason": "stop"}\n'),
    ],
)
def test_files_that_are_not_of_a_run_are_refused(tmp_path: Path, name: str, text: str) -> None:
    folder = kept(tmp_path, run_record(), 1, 1)
    (folder / name).write_text(text)
    with pytest.raises(BadInput):
        read_run(folder)


WRONG: tuple[Any, ...] = (5, -1.5, True, None, "x", [], {}, ["a"], {"a": 1})


def is_of(kind: Any, value: Any) -> bool:
    """Whether JSON's value is of a field's type."""
    if get_origin(kind) is Mapping:
        return bool(value == {})
    found: bool = isinstance(value, kind)
    return found and (kind is bool or value is not True)


def test_a_record_with_a_field_of_another_type_is_refused(tmp_path: Path) -> None:
    folder = kept(tmp_path, run_record(), 1, 1)
    path = folder / "run.json"
    whole = json.loads(path.read_text())
    task = whole["tasks"]["gsm8k"]
    places = [(whole, name, kind) for name, kind in get_type_hints(RunRecord).items()]
    places += [(task, name, kind) for name, kind in get_type_hints(Asked).items()]
    refused = 0
    for place, name, kind in places:
        right = place[name]
        for value in WRONG:
            if is_of(kind, value):
                continue
            place[name] = value
            path.write_text(json.dumps(whole))
            with pytest.raises(BadInput, match="is not the record of a run"):
                read_run(folder)
            refused += 1
        place[name] = right
    assert refused > 6 * len(places)
    path.write_text(json.dumps(whole))
    assert read_run(folder)[0] == run_record()


def test_a_torn_line_is_left_aside(tmp_path: Path) -> None:
    folder = kept(tmp_path, run_record(rows=2), 2, 0)
    with (folder / "gsm8k.jsonl").open("a") as file:
        file.write('{"id": "2", "sco')
    _, (one,) = read_run(folder)
    assert len(one.scored) == 2


def test_runs_over_other_rows_are_no_pair(tmp_path: Path) -> None:
    first, same, other, older = (
        kept(tmp_path / name, run_record(rows_sha256=sha256), 3, 1)
        for name, sha256 in zip("abcd", ("1" * 64, "1" * 64, "2" * 64, None), strict=True)
    )
    for second in (same, older):
        (pair,) = compare(first, second).pairs
        assert (pair.better, pair.unpaired) == ("tied", 0)
    with pytest.raises(BadInput, match="asked gsm8k of different data"):
        compare(first, other)


def test_a_task_of_other_rows_is_left_out_of_a_comparison_by_name(tmp_path: Path) -> None:
    for name in "ab":
        made = run_record(rows_sha256=name * 64).with_task("ifeval", run_record().tasks["gsm8k"])
        kept(tmp_path / name, made, 3, 1)
        kept(tmp_path / name, made, 2, 2, name="ifeval")
    both = compare(tmp_path / "a", tmp_path / "b")
    reason = "the two runs asked it of different data"
    assert [one.task for one in both.pairs] == ["ifeval"]
    assert pairs_as_lines(both)[-1] == f"gsm8k: left out: {reason}"
    value = pairs_as_object(both)
    assert value["gsm8k"] == {"verdict": "not comparable", "reason": reason}
    assert value["ifeval"]["verdict"] == "tied"


def test_a_report_says_which_rows_were_asked(tmp_path: Path) -> None:
    made, results = read_run(kept(tmp_path, run_record(rows_sha256="0123456789abcdef" * 4), 3, 1))
    assert "- all 1,319 rows have SHA-256 0123456789abcdef..." in as_markdown(made, results)
    assert as_object(made, results)["tasks"]["gsm8k"]["rows_sha256"] == "0123456789abcdef" * 4
