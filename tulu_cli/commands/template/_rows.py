"""What is added to the rows: a system prompt, and tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulu_cli.errors import BadInput

if TYPE_CHECKING:
    from tulu_cli.prompt.formats import PlainRow, Row


def read_system(asked: str | None) -> str | None:
    """The system prompt: a text, the name of one in the settings, tulu or none."""
    if asked is None:
        return None
    from tulu_cli.models import tulu_system_prompt
    from tulu_cli.settings import read_settings

    named = {**read_settings({}).prompts, "tulu": tulu_system_prompt(), "none": None}
    return named.get(asked, asked)


def with_prompt(row: "Row | PlainRow", system: str | None) -> "Row | PlainRow":
    """The row behind the system prompt. Raises UsageError where it has one."""
    if system is None:
        return row
    from tulu_cli.inputs import with_system
    from tulu_cli.prompt.formats import Row

    return Row(with_system(row.messages, system, asked=True), row.rest)


def read_tools(name: str | None) -> tuple[Any, ...] | None:
    """The tools in a JSON file. Raises BadInput."""
    if name is None:
        return None
    from tulu_cli.prompt.files import parse_json, read_text

    text = read_text(Path(name))
    if text is None:
        raise BadInput(f"{name} does not exist: --tools takes a file with a JSON array.")
    tools = parse_json(text, name)
    if not isinstance(tools, list):
        raise BadInput(f"{name} must hold a JSON array of tools.")
    return tuple(tools)
