"""What a server says instead of an answer, as an error."""

import json
from typing import Any

from tulu_cli import errors
from tulu_cli.errors import EngineError, PromptTooLong, TuluError
from tulu_cli.text import one_line

# What OpenAI and llama.cpp call a prompt that is longer than the context.
_TOO_LONG = {"context_length_exceeded", "exceed_context_size_error"}
LONGEST_MESSAGE = 500  # characters


class Refused(EngineError):
    """What a server says instead of an answer, with the status of HTTP."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def refusal(status: int, told: Any) -> TuluError:
    """What a body says; ours send the class of their error, others a message in some form."""
    told = told[0] if isinstance(told, list) and told else told
    told = told if isinstance(told, dict) else {}
    error = told.get("error") or told.get("detail") or told
    error = error if isinstance(error, dict) else {"message": error}
    message = one_line(str(error.get("message") or "no reason given"), LONGEST_MESSAGE).rstrip(".")
    kind = getattr(errors, str(error.get("type")), None)
    if isinstance(kind, type) and issubclass(kind, TuluError):
        return kind(f"{message}.")
    if _TOO_LONG & {str(error.get("code")), str(error.get("type"))}:
        return PromptTooLong(f"The server says that the prompt is too long: {message}.")
    if status in (401, 403):
        return Refused(
            f"The server wants a key ({message}): --api-key-env names the variable that holds it.",
            status,
        )
    return Refused(f"The server refused the request ({status}): {message}.", status)


def error_object(error: TuluError) -> dict[str, Any]:
    """Return an error of ours in OpenAI's form; its class is the type, which `refusal` reads."""
    told = {"message": str(error), "type": type(error).__name__, "code": int(error.exit_code)}
    return {"error": told}


def parsed(data: bytes) -> Any:
    """A body as JSON; as the message that it then is where it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {"message": data[:200].decode("utf-8", errors="replace")}
