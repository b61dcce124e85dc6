"""Errors on the wire: a server's refusal as an error of ours, and our errors for clients."""

import json
from collections.abc import Callable
from typing import Any

from tulu_cli import errors
from tulu_cli.errors import (
    EngineDied,
    EngineError,
    ExitCode,
    ModelNotFound,
    PromptTooLong,
    TuluError,
)
from tulu_cli.protocol.fields import BadField
from tulu_cli.text import one_line

# What OpenAI and llama.cpp call a prompt that is longer than the context.
_TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}
# OpenAI's words, by which programs tell these from other refusals.
_CODES = {PromptTooLong: "context_length_exceeded", ModelNotFound: "model_not_found"}
LONGEST_MESSAGE = 500  # characters
_OF_SERVER = {401, 402, 403, 404, 405, 407, 410}


class Refused(EngineError):
    """A server's refusal, with its HTTP status, and all that it has said, for who looks in it."""

    def __init__(self, sentence: str, status: int, told: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.told = told or sentence

    @property
    def may_pass(self) -> bool:
        """Return True if the same request may be answered later."""
        return may_pass(self.status)

    @property
    def is_of_server(self) -> bool:
        """Return True if it refuses any request: for its key, its route or its model."""
        return self.status in _OF_SERVER or 300 <= self.status < 400


def may_pass(status: int) -> bool:
    """Return True for the statuses of a server that is busy, or has failed for now."""
    return status in (408, 429) or (500 <= status < 600 and status != 501)


def refusal(status: int, told: Any) -> TuluError:
    """Return a refusal's body as an error; servers of ours send the class of theirs."""
    told = told[0] if isinstance(told, list) and told else told
    told = told if isinstance(told, dict) else {}
    error = told.get("error") or _detail(told.get("detail")) or told
    error = error if isinstance(error, dict) else {"message": error}
    message = one_line(str(error.get("message") or "no reason given"), LONGEST_MESSAGE).rstrip(".")
    kind = getattr(errors, str(error.get("class")), None)
    if isinstance(kind, type) and issubclass(kind, TuluError):
        return kind(f"{message}.")
    if _TOO_LONG & {str(error.get("code")), str(error.get("type"))}:
        return PromptTooLong(f"The server says that the prompt is too long: {message}.")
    if status in (401, 403):
        return Refused(
            f"The server requires a key ({message}): name the variable that holds it by "
            "--api-key-env.",
            status,
        )
    said = f"The server refused the request ({status}): {message}."
    return Refused(said, status, json.dumps(told))


def _detail(told: Any) -> Any:
    """Return FastAPI's `detail`; of a list of what it found, each place with its complaint."""
    if not isinstance(told, list):
        return told
    try:
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in told)
    except (LookupError, TypeError):
        return told


def error_object(error: TuluError) -> dict[str, Any]:
    """Return an error in OpenAI's form, with its class beside that, which `refusal` reads."""
    ours = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return {
        "error": {
            "message": str(error),
            "type": "invalid_request_error" if status_of(error) < 500 else "server_error",
            "param": _param_of(error),
            "code": next((code for kind, code in _CODES.items() if isinstance(error, kind)), None),
            "class": ours.__name__,
        }
    }


def _param_of(error: TuluError) -> str | None:
    """Return the field of the body that an error is about, if that is known."""
    if isinstance(error, BadField):
        return error.param
    return "model" if isinstance(error, ModelNotFound) else None


def status_of(error: TuluError) -> int:
    """Return the HTTP status for an error: 4xx where the request is wrong."""
    if isinstance(error, ModelNotFound):
        return 404
    if error.exit_code in (ExitCode.USAGE, ExitCode.PROMPT_TOO_LONG, ExitCode.BAD_INPUT):
        return 400
    return 503 if isinstance(error, EngineDied) else 500


def parsed(data: bytes, hidden: Callable[[str], str] = str) -> Any:
    """Parse a body as JSON, or wrap it as {"message": text}, after `hidden`, if it is not."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {"message": hidden(data.decode("utf-8", errors="replace"))[:200]}
