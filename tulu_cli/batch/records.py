"""What is written for a row: our own record, or a line of OpenAI's batch output."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tulu_cli.batch.journal import Key
from tulu_cli.batch.openai import PLAIN
from tulu_cli.batch.rows import BadRow, Row
from tulu_cli.core import Completion
from tulu_cli.errors import ExitCode, TuluError

Answer = list[Completion] | TuluError
_CODES = {
    ExitCode.BAD_INPUT: "bad_input",
    ExitCode.USAGE: "bad_parameter",
    ExitCode.PROMPT_TOO_LONG: "prompt_too_long",
    ExitCode.DOES_NOT_FIT: "out_of_memory",
}


@dataclass(frozen=True, slots=True)
class Writer:
    """Makes the line for an answer. `settings` is the hash that the keys of this run have."""

    settings: int
    model: str
    openai: bool = False
    clock: Callable[[], float] = time.time

    def line(self, row: Row | BadRow, answer: Answer, problem: TuluError | None) -> str:
        """The record as one line of JSON. `problem` is what is wrong with the answer, if it is."""
        key = Key(row.line, row.digest, self.settings)
        if self.openai:
            made = openai_record(row, answer, key, self.model, int(self.clock()))
        else:
            made = record(row, answer)
        if problem is not None:
            made["error"] = error_object(problem)
        if not self.openai:
            made["key"] = str(key)
        return json.dumps(made, ensure_ascii=False)


def record(row: Row | BadRow, answer: Answer) -> dict[str, Any]:
    """Our own record: the answer, and what else the row held under `columns`.

    It says nothing of times, so that the same rows, answered again, give the same file.
    """
    made: dict[str, Any] = {"line": row.line, "id": row.id}
    if not isinstance(answer, TuluError):
        made |= choice_object(answer[0])
        if len(answer) > 1:
            made["choices"] = [choice_object(choice) for choice in answer]
        made["usage"] = usage_object(answer)
    if isinstance(row, Row) and row.columns:
        made["columns"] = dict(row.columns)
    return made


def openai_record(
    row: Row | BadRow, answer: Answer, key: Key, model: str, created: int
) -> dict[str, Any]:
    """A line as OpenAI's batch output has it, the result of a chat or of a completion."""
    made: dict[str, Any] = {"id": f"tulu-{key}", "custom_id": row.id}
    if isinstance(answer, TuluError):
        return made | {"response": None, "error": None}
    is_plain = isinstance(row, Row) and (row.url == PLAIN or isinstance(row.prompt, str))
    body = {
        "id": f"tulu-{key}",
        "object": "text_completion" if is_plain else "chat.completion",
        "created": created,
        "model": model,
        "choices": [openai_choice(choice, is_plain=is_plain) for choice in answer],
        "usage": usage_object(answer),
    }
    response = {"status_code": 200, "request_id": f"tulu-{key}", "body": body}
    return made | {"response": response, "error": None}


def choice_object(choice: Completion) -> dict[str, Any]:
    """One answer; its seed where it was drawn by one."""
    return {
        "text": choice.text,
        "finish_reason": choice.done.finish_reason,
        "seed": choice.done.seed,
    }


def openai_choice(choice: Completion, *, is_plain: bool) -> dict[str, Any]:
    """The same in OpenAI's shape."""
    said = (
        {"text": choice.text}
        if is_plain
        else {"message": {"role": "assistant", "content": choice.text}}
    )
    ended = {"finish_reason": choice.done.finish_reason, "logprobs": None}
    return {"index": choice.done.index, **said, **ended}


def usage_object(choices: list[Completion]) -> Mapping[str, int] | None:
    """Token counts: the prompt once, all choices together; None where nobody has counted."""
    if not choices[0].done.usage.is_known:
        return None
    prompt = choices[0].done.usage.prompt_tokens
    completion = sum(choice.done.usage.completion_tokens for choice in choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def error_object(error: TuluError) -> dict[str, str]:
    """Why there is no answer."""
    return {"code": _CODES.get(error.exit_code, "engine_error"), "message": str(error)}
