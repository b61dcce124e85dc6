"""A server that takes token ids as vLLM's does, and misbehaves when it is told to.

`python -m tests.token_server ROOT` serves the model in a directory on a free port of the loopback,
and prints the port. It computes nothing: an answer follows from the prompt and the seed, and comes
after `latency` seconds. GET /control?latency=0.5&mode=hang changes how it behaves from now on.
"""

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qsl, urlsplit

WORDS = range(1000, 9000)  # ids of ordinary tokens in the demo model's vocabulary
HANG, FAIL, PLAIN = "hang", "fail", "plain"


class TokenServer:
    """What answers. In the mode `hang` no byte is sent, in `fail` completions are refused by 500.

    What it is asked from number `held_from` on waits until that changes. A `salt` makes its answers
    those of another model. `most` is how many are answered at once, the others wait, as they do in
    an engine that is full.
    """

    def __init__(self, root: str, name: str, salt: int, latency: float, most: int) -> None:
        self.root, self.name, self.salt, self.latency = root, name, salt, latency
        self.mode = PLAIN
        self.length = 2048
        self.asked = self.waiting = 0
        self.held_from = float("inf")
        self.slots = asyncio.Semaphore(most)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = next(
                (
                    int(line.partition(":")[2])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            body = json.loads(await reader.readexactly(size)) if size else {}
            status, kind, data = await self._answer(head.split()[1], body)
            told = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n"
            writer.write(f"{told}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, target: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        url = urlsplit(target)
        if url.path == "/control":
            return self._control(dict(parse_qsl(url.query)))
        if self.mode == HANG:
            await asyncio.sleep(3600)
        if url.path == "/metrics":
            told = f'vllm:num_requests_waiting{{engine="0"}} {self.waiting}.0\n'
            return 200, "text/plain", told.encode()
        if url.path == "/v1/models":
            return self._models()
        number = self.asked
        self.asked += 1
        if self.mode == FAIL:
            return 500, "application/json", b'{"error": {"message": "out of order"}}'
        self.waiting += 1
        async with self.slots:
            self.waiting -= 1
            await asyncio.sleep(self.latency)
        while number >= self.held_from:
            await asyncio.sleep(0.01)
        if self.mode == HANG:
            await asyncio.sleep(3600)
        choice, usage = self._choice(body)
        chunk = {"choices": [{**choice, "finish_reason": "length"}]}
        if not body["stream"]:
            return 200, "application/json", json.dumps({**chunk, "usage": usage}).encode()
        events = (json.dumps(chunk), json.dumps({"choices": [], "usage": usage}), "[DONE]")
        return 200, "text/event-stream", "".join(f"data: {one}\n\n" for one in events).encode()

    def _control(self, told: dict[str, str]) -> tuple[int, str, bytes]:
        for name, value in told.items():
            if name == "most":
                self.slots = asyncio.Semaphore(int(value))
            else:
                setattr(self, name, value if name in ("mode", "name") else float(value))
        return 200, "application/json", json.dumps({"asked": self.asked}).encode()

    def _models(self) -> tuple[int, str, bytes]:
        row = {"id": self.name, "owned_by": "vllm", "root": self.root}
        told = {"data": [{**row, "max_model_len": int(self.length)}]}
        return 200, "application/json", json.dumps(told).encode()

    def _choice(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        dice = random.Random(f"{self.salt} {body['prompt']} {body.get('seed')}")
        ids = [dice.choice(WORDS) for _ in range(body["max_tokens"] or 8)]
        choice: dict[str, Any] = {"index": 0, "text": "", "token_ids": ids}
        if body.get("logprobs") is not None:
            choice["logprobs"] = {
                "token_logprobs": [-0.1 for _ in ids],
                "top_logprobs": [{f"token_id:{token}": -0.1} for token in ids],
            }
        return choice, {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(ids)}


@dataclass
class Running:
    """A server in a process of its own, unless it is yet to be started."""

    process: subprocess.Popen[str] | None
    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def tell(self, **values: Any) -> int:
        """Change how it behaves from now on; return how many completions it was asked for."""
        query = "&".join(f"{name}={value}" for name, value in values.items())
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            connection.request("GET", f"/control?{query}")
            return int(json.load(connection.getresponse())["asked"])

    def hold(self, answers: int) -> None:
        """Let it answer so many completions more, and keep the others waiting."""
        self.tell(held_from=self.tell() + answers)

    def release(self) -> None:
        """Let it answer all that it is asked."""
        self.tell(held_from="inf")

    def has_joined(self) -> bool:
        """Whether it runs, and has been asked for more than the probe."""
        with suppress(ConnectionError):
            return self.tell() > 1
        return False

    def is_running(self) -> bool:
        """Whether its process has been started, and lives."""
        return self.process is not None and self.process.poll() is None

    def start(self, root: str, *options: str) -> None:
        """Start it on its port, where it does not run; do not wait for it."""
        self.process = _begun(root, "--port", str(self.port), *options)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self.process is not None and self.is_running():
            self.process.kill()
            self.process.communicate()


@contextmanager
def server_to_come(host: str = "127.0.0.1") -> Iterator[Running]:
    """A server that does not run yet; meanwhile no other program can have its port.

    Who connects to a port that is bound, and that nobody listens at, is refused.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the server may bind it too
        bound.bind((host, 0))
        running = Running(None, bound.getsockname()[1])
        try:
            yield running
        finally:
            running.kill()


def _begun(root: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.token_server", root, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextmanager
def servers(root: str, number: int, *options: str) -> Iterator[list[Running]]:
    """So many servers of one model, which end with the block."""
    with ExitStack() as held:
        running = []
        for _ in range(number):
            running.append(one := Running(_begun(root, *options), 0))
            held.callback(one.kill)
        for one in running:
            assert one.process is not None
            assert one.process.stdout is not None
            one.port = int(one.process.stdout.readline())
        yield running


async def main() -> None:
    """Serve until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--name", default="m")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--salt", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--most", type=int, default=256)
    given = parser.parse_args()
    server = TokenServer(given.root, given.name, given.salt, given.latency, given.most)
    listening = await asyncio.start_server(server.serve, given.host, given.port, backlog=1024)
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
