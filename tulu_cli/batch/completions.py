"""What is scored: the completions that a row gives."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tulu_cli.core import Message
from tulu_cli.errors import BadInput

if TYPE_CHECKING:
    from tulu_cli.batch.rows import Row

ONE, SEVERAL = "completion", "completions"


def with_completions(row: "Row", value: Any, source: str) -> "Row":
    """The row with what is to be scored. Raises BadInput.

    That is the assistant's message at the end of its conversation, or what it holds under
    `completion` or, several to be compared, under `completions`.
    """
    if row.sampling:
        raise BadInput(f"{source} sets {min(row.sampling)}, which is for generating, not scoring.")
    columns = {key: item for key, item in row.columns.items() if key not in (ONE, SEVERAL)}
    given = [key for key in (ONE, SEVERAL) if isinstance(value, dict) and key in value]
    prompt, last = row.prompt, None
    if not isinstance(prompt, str) and prompt and prompt[-1].role == "assistant":
        prompt, last = prompt[:-1], prompt[-1]
        given.append("an answer at its end")
    if len(given) != 1:
        has = " and ".join(given) or "nothing to score"
        raise BadInput(
            f"{source} has {has}: it needs one of {ONE}, {SEVERAL} and a last message that is the "
            "assistant's."
        )
    if not prompt and not isinstance(prompt, str):
        raise BadInput(f"{source} has nothing before its answer.")
    completions = (last,) if last is not None else texts(value, given[0], source)
    if not all(one.content or one.extra for one in completions):
        raise BadInput(f"{source} has an empty completion: there is nothing to score.")
    several = SEVERAL in given
    return replace(row, prompt=prompt, columns=columns, completions=completions, several=several)


def texts(value: Mapping[str, Any], key: str, source: str) -> tuple[Message, ...]:
    """The completions under a key. Raises BadInput."""
    found = [value[key]] if key == ONE else value[key]
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        kind = "a text" if key == ONE else "a list of texts"
        raise BadInput(f"{source}: {key} must be {kind}.")
    return tuple(Message("assistant", one) for one in found)
