"""The lock on vLLM's public server: without the key nothing but /health answers."""

import hmac
import os
from typing import Any

_OPEN = ("/health",)


class RequireKey:
    """ASGI middleware that wants `Authorization: Bearer KEY` for every path.

    vLLM's own check is for /v1 alone, and leaves /tokenize, /metrics and others open.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._wanted = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on what has the key."""
        if scope["type"] == "lifespan" or scope["path"] in _OPEN or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        body = b'{"error": {"message": "The key is missing or wrong", "type": "Unauthorized"}}'
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _has_key(self, scope: Any) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._wanted)
