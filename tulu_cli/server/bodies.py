"""What a client sends, read from the connection."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tulu_cli.errors import BadInput

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest

_LONGEST_BODY = 64 * 2**20


async def read_body(http: "HttpRequest") -> Mapping[str, Any]:
    """The JSON object of a request. Raises BadInput for anything else."""
    parts = bytearray()
    async for part in http.stream():
        parts += part
        if len(parts) > _LONGEST_BODY:
            raise BadInput(f"The body is longer than {_LONGEST_BODY:,} bytes.")
    try:
        body = json.loads(parts)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise BadInput("The body is not a JSON object.")
    return body
