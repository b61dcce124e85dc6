"""The few answers of the Hugging Face Hub that a download needs, served from memory."""

import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class FakeHub:
    """Repositories by name, each a mapping from path to bytes; `refuse` answers for a whole one.

    `requests` has the path of every request, and `ranges` of each for a file the byte that it
    began at; `broken` are paths that fail in the middle, `cut` those that end there as if they were
    complete, and `stalled` those that stand still there until `go_on` is set. Files called
    *.safetensors are large ones.
    """

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    stalled: set[str] = field(default_factory=set)
    go_on: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    ranges: list[tuple[str, int]] = field(default_factory=list)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"owner": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Be unreachable from now on."""
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()

    def fetched(self) -> set[str]:
        """The names of the files whose bytes were asked for."""
        marker = f"/resolve/{COMMIT}/"
        return {path.partition(marker)[2] for path in self.requests if marker in path}


class _Handler(BaseHTTPRequestHandler):
    owner: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def _answer(self, *, with_body: bool) -> None:
        path = urlsplit(self.path).path
        self.owner.requests.append(path)
        repo = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        files = self.owner.repositories.get(repo)
        if repo in self.owner.refuse:
            self._send(*self.owner.refuse[repo])
        elif files is None:
            self._send(404, "RepoNotFound")
        elif "/revision/" in path and not path.endswith(("/main", COMMIT)):
            self._send(404, "RevisionNotFound")
        elif "/resolve/" in path and (name := _file_name(path)) not in files:
            self._send(404, "EntryNotFound")
        elif "/resolve/" in path:
            self._send_file(name, files[name], with_body=with_body)
        else:
            self._send(200, "", json.dumps(self._listing(path, repo, files)).encode())

    def _listing(self, path: str, repo: str, files: dict[str, bytes]) -> object:
        if "/tree/" in path:
            return [
                {"type": "file", "path": name, "size": len(data), "oid": etag(name, data)}
                for name, data in files.items()
            ]
        siblings = [_sibling(name, data) for name, data in files.items()]
        return {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}

    def _send(self, status: int, code: str, body: bytes = b"") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, name: str, data: bytes, *, with_body: bool) -> None:
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        name_of_bytes = etag(name, data)
        if with_body and name in self.owner.cut:
            data = data[: len(data) // 2]
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{name_of_bytes}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if with_body:
            self.owner.ranges.append((name, begin))
            with suppress(ConnectionError):  # who asked may be gone
                self._send_body(name, data[begin:])

    def _send_body(self, name: str, data: bytes) -> None:
        half = len(data) // 2
        self.wfile.write(data[:half])
        if name in self.owner.stalled:
            self.owner.go_on.wait()
        if name in self.owner.broken:
            self.close_connection = True
        else:
            self.wfile.write(data[half:])


def _file_name(path: str) -> str:
    """What follows the revision."""
    return path.partition("/resolve/")[2].partition("/")[2]


def _sibling(name: str, data: bytes) -> dict[str, object]:
    large = {"sha256": etag(name, data), "size": len(data), "pointerSize": 130}
    about = {"rfilename": name, "size": len(data), "blobId": _sha1(data)}
    return about | ({"lfs": large} if name.endswith(".safetensors") else {})


def etag(name: str, data: bytes) -> str:
    """The name that the cache has for the bytes of a file: SHA-256 for a large one."""
    return hashlib.sha256(data).hexdigest() if name.endswith(".safetensors") else _sha1(data)


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def fill_cache(cache: Path, repo: str, files: dict[str, bytes], commit: str = COMMIT) -> Path:
    """Lay a repository out as the Hub's library does: blobs, links to them, and a ref for main."""
    root = cache / ("models--" + repo.replace("/", "--"))
    snapshot = root / "snapshots" / commit
    for name, data in files.items():
        blob = root / "blobs" / etag(name, data)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blob)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs" / "main").write_text(commit)
    return snapshot
