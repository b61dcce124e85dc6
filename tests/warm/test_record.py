"""The records of a warm engine, and how they are judged."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.loading import CONTEXT
from tests.warming import order_of
from tulu_cli.core import EngineInfo
from tulu_cli.errors import UsageError
from tulu_cli.warm.finder import Wanted, is_same_model, mismatch, named
from tulu_cli.warm.record import (
    LaunchOrder,
    State,
    Warm,
    fingerprint,
    read_info,
    read_order,
    read_state,
    read_warm,
    write_json,
)


@pytest.fixture
def order(demo_directory: Path) -> LaunchOrder:
    return order_of("fake", demo_directory, keep_alive=3.5, engine_args={"a": [1, {"b": None}]})


def test_what_is_written_is_read_again(order: LaunchOrder, tmp_path: Path) -> None:
    state = State(1, 2, 3.5, 4.5)
    info = EngineInfo("fake", "demo", None, "cpu", "none", 99, {"torch": "2"})
    for name, value in (("order", order), ("state", state), ("info", info)):
        write_json(tmp_path / f"{name}.json", asdict(value))
    assert read_order(tmp_path) == order
    assert read_warm(tmp_path) == Warm(tmp_path, order, state, info)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "info.json",
        "order.json",
        "state.json",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"identity": {}}', "\ufffd"])
def test_papers_that_cannot_be_read_are_none(tmp_path: Path, text: str) -> None:
    for name in ("order", "state", "info"):
        (tmp_path / f"{name}.json").write_bytes(text.encode("latin-1", "replace"))
    assert (read_order(tmp_path), read_state(tmp_path), read_info(tmp_path)) == (None, None, None)
    assert read_warm(tmp_path) is None


def test_the_same_wish_has_the_same_key_and_another_has_another(
    order: LaunchOrder, demo_directory: Path
) -> None:
    again = order_of("fake", demo_directory, keep_alive=9, engine_args={"a": [1, {"b": None}]})
    assert again.identity.key == order.identity.key
    for other in (
        order_of("transformers", demo_directory, engine_args={"a": [1, {"b": None}]}),
        order_of("fake", demo_directory, engine_args={"a": [1, {"b": 0}]}),
        order_of("fake", demo_directory, max_model_len=9, engine_args={"a": [1, {"b": None}]}),
    ):
        assert other.identity.key != order.identity.key


def test_a_fingerprint_is_that_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    (tmp_path / "a").write_text("other")
    second = fingerprint(tmp_path)
    (tmp_path / "b").symlink_to("nowhere")
    assert len({first, second}) == 2
    assert fingerprint(tmp_path) == second, "a link to nothing is nothing"


@pytest.fixture
def compare(order: LaunchOrder, tmp_path: Path) -> Callable[..., str | None]:
    """Why the engine of `order` may not answer what is wanted, with changes to that."""
    held = order.identity

    def compared(**changes: Any) -> str | None:
        wanted = Wanted(held.model, held.directory, held.files, versions=held.versions)
        return mismatch(Warm(tmp_path, order, State(1, 2, 3)), replace(wanted, **changes))

    return compared


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"engine": "fake"}, None),
        ({"settings": {"max_model_len": CONTEXT, "dtype": "float32"}}, None),
        ({"settings": {"engine_args": {"a": [1, {"b": None}]}}}, None),
        ({"engine": "vllm"}, "it runs fake, not vllm"),
        ({"directory": "/else"}, "it holds another revision or copy of the model"),
        ({"files": "else"}, "the model's files have changed since it was loaded"),
        ({"settings": {"dtype": "bfloat16"}}, "its dtype is float32, not bfloat16"),
        ({"settings": {"trust_remote_code": True}}, "its trust_remote_code is False, not True"),
        ({"versions": {}}, "and none is installed"),
    ],
    ids=str,
)
def test_what_does_not_match_is_said(
    compare: Callable[..., str | None], changes: dict[str, Any], why: str | None
) -> None:
    found = compare(**changes)
    assert found == why or (found is not None and why is not None and found.endswith(why))


def test_an_upgraded_package_is_a_mismatch(
    order: LaunchOrder, compare: Callable[..., str | None]
) -> None:
    held = order.identity.versions
    assert (
        compare(versions={**held, "tulu": "99"})
        == f"it runs tulu {held['tulu']}, and 99 is installed"
    )
    assert compare(versions={**held, "new": "1"}) == "it runs new not at all, and 1 is installed"


def test_another_model_is_none_of_our_business(order: LaunchOrder, tmp_path: Path) -> None:
    warm = Warm(tmp_path, order, State(1, 2, 3))
    assert not is_same_model(warm, Wanted("other", "/else", ""))
    assert is_same_model(warm, Wanted("demo", "/else", ""))
    assert is_same_model(warm, Wanted("other", order.identity.directory, ""))


def test_an_engine_is_named_by_its_model_or_its_key(order: LaunchOrder, tmp_path: Path) -> None:
    one, two = (Warm(tmp_path / key, order, State(1, 2, 3)) for key in ("aa", "bb"))
    assert named(None, [one]) is one
    assert named("demo", [one]) is one
    assert named("bb", [one, two]) is two
    for model, running, complaint in (
        (None, [], "No engine is warm"),
        ("8b", [one], r"No warm engine holds '8b'; there are demo \(aa\)"),
        ("demo", [one, two], r"Which one\? There are demo \(aa\), demo \(bb\)"),
        (None, [one, two], "Which one"),
    ):
        with pytest.raises(UsageError, match=complaint):
            named(model, running)
