"""HTTP over a Unix socket with the standard library alone.

It knows no proxy, and it is light: httpx takes longer to import than a warm engine takes to its
first token, and would double the supervisor's memory.
"""

import http.client
import socket
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """A connection to a server on a Unix socket; `timeout` is in seconds."""

    def __init__(self, path: Path, timeout: float | None = None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def get(path: Path, target: str, timeout: float = 2.0) -> tuple[int, bytes]:
    """Return the status and the body of a GET. Raise OSError if nobody answers in time."""
    return exchange(path, "GET", target, None, timeout)


def exchange(
    path: Path, method: str, target: str, data: bytes | None, timeout: float
) -> tuple[int, bytes]:
    """Return the status and the body of a request whose body is JSON, or None.

    Raise OSError if nobody answers in time.
    """
    connection = UnixConnection(path, timeout)
    try:
        connection.request(method, target, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from error
    finally:
        connection.close()
