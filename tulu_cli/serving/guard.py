"""Who may ask a server on a port: whoever has the key; without one, programs of this machine."""

import hmac
import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tulu_cli.serving.frames import LONGEST_BODY
from tulu_cli.serving.public import KEY_VARIABLE, is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OPEN = ("/health",)


class Guard:
    """ASGI middleware, around vLLM's server too, whose own check of a key covers /v1 alone.

    With a key, a request needs `Authorization: Bearer KEY` on every path but /health. Without one,
    a web page could have a browser ask this machine, so a request must name this machine as its
    host, and come from no page of another. No longer body than `LONGEST_BODY` is passed on.
    """

    def __init__(self, app: "ASGIApp", key: str | None) -> None:
        self._app = app
        self._wanted = f"Bearer {key}".encode() if key else None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif (refused := self._refused(scope)) is not None:
            await refuse(scope, send, *refused)
        else:
            await self._measured(scope, receive, send)

    def _refused(self, scope: "Scope") -> tuple[int, str] | None:
        """Return the status and the reason for which a request is not passed on."""
        headers = dict(reversed(scope["headers"]))  # of several of a name, the first
        if scope["path"] in _OPEN:
            return None
        if self._wanted is not None:
            given = headers.get(b"authorization", b"")
            has_key = hmac.compare_digest(given, self._wanted)
            return None if has_key else (401, "The key is missing or wrong.")
        origin = headers.get(b"origin")
        if not is_of_this_machine(b"//" + headers.get(b"host", b"")) or (
            origin is not None and not is_of_this_machine(origin)
        ):
            return 403, "Without a key this server answers programs of its own machine alone."
        return None

    async def _measured(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on whose body is cut off where it becomes too long."""
        taken, is_too_long = 0, False

        async def counted() -> "Message":
            nonlocal taken, is_too_long
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LONGEST_BODY:
                is_too_long = True
                return {"type": "http.disconnect"}
            return message

        async def told(message: "Message") -> None:
            if not is_too_long:
                await send(message)

        await self._app(scope, counted, told)
        if is_too_long:
            await refuse(scope, send, 413, f"The body is longer than {LONGEST_BODY:,} bytes.")


class VllmGuard(Guard):
    """The guard as vLLM makes it of its name: the key is in the variable that vLLM has for it."""

    def __init__(self, app: "ASGIApp") -> None:
        super().__init__(app, os.environ.get(KEY_VARIABLE))


def is_of_this_machine(url: bytes) -> bool:
    """Return True for a URL, or //HOST:PORT, whose host is a name of this machine for itself."""
    try:
        return is_loopback(urlsplit(url.decode("ascii")).hostname or "")
    except ValueError:
        return False


async def refuse(scope: "Scope", send: "Send", status: int, message: str) -> None:
    """Answer a request that is not passed on, in OpenAI's form."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    kind = "authentication_error" if status == 401 else "invalid_request_error"
    code = "invalid_api_key" if status == 401 else None
    error: dict[str, Any] = {"message": message, "type": kind, "param": None, "code": code}
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": error}).encode()})
