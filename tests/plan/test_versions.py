"""The rules of each release."""

from dataclasses import fields

import pytest

from tulu_cli.errors import UsageError
from tulu_cli.plan.versions import CHANGES, NEWEST, Rules, read_version, rules_of, sources


def test_every_change_names_a_rule_and_its_source_in_order_of_release() -> None:
    names = {rule.name for rule in fields(Rules)}
    assert {name for _, name, _, _ in CHANGES} <= names
    assert all(source for *_, source in CHANGES)
    assert [change[0] for change in CHANGES] == sorted(change[0] for change in CHANGES)


@pytest.mark.parametrize(
    ("version", "utilization", "graphs", "engine"),
    [
        ("0.5.3.post1", 0.9, False, 0),
        ("0.8.5", 0.9, False, 1),
        ("v0.20.2", 0.9, False, 1),
        ("0.21", 0.9, True, 1),
        ("0.32.0+cpu", 0.92, True, 1),
    ],
)
def test_rules_change_with_the_release(
    version: str, utilization: float, graphs: bool, engine: int
) -> None:
    rules = rules_of(read_version(version))
    assert (rules.utilization, rules.graphs_in_budget, rules.engine) == (
        utilization,
        graphs,
        engine,
    )


@pytest.mark.parametrize("text", ["", "latest", "one.two", "-1.0"])
def test_a_text_that_is_no_release(text: str) -> None:
    with pytest.raises(UsageError, match="--vllm-version"):
        read_version(text)


def test_each_rule_is_said_with_its_source() -> None:
    lines = sources(NEWEST)
    assert len(lines) == len(fields(Rules))
    assert any("utilization = 0.92 (since 0.25.0" in line for line in lines)
