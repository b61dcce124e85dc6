"""Several servers of one model, in processes that die, hang, fail, lie and come late."""

import json
import os
import resource
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.foreign_server import end_chunk, serving, stream, strict, text_chunk
from tests.program import eventually, tulu
from tests.token_server import Running, servers, start
from tulu_cli.batch.options import BatchOptions
from tulu_cli.batch.session import run
from tulu_cli.errors import EngineDied, UsageError
from tulu_cli.loading import LoadOptions, several
from tulu_cli.machine import Machine
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams

ROWS = 120


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    made = (json.dumps({"id": f"r{number}", "text": f"Row {number}"}) for number in range(ROWS))
    path.write_text("\n".join(made))
    return path


def batch(rows: Path, output: str, *places: str, resume: bool = False, **load: Any) -> list[str]:
    """Answer the rows, and return what was said."""
    streams = Streams.test()
    values = {"server": list(places), "max_tokens": 8, **load.pop("settings", {})}
    settings = Settings({name: Setting(value, "flag") for name, value in values.items()})
    options = LoadOptions(settings, offline=True, **load)
    out = rows.with_name(output)
    chosen = BatchOptions(
        options, str(rows), str(out), resume=resume, stats=str(out.with_suffix(".stats"))
    )
    try:
        run(chosen, streams, Machine())
    finally:
        streams.stderr.seek(0)
        said = streams.stderr.read().decode().splitlines()
    return said


def records(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines(), key=lambda line: json.loads(line)["line"])


class Events:
    """Does things once an output has so many lines, in a thread beside the batch."""

    def __init__(self, output: Path, at: Mapping[int, Callable[[], object]]) -> None:
        self._output, self._at = output, at
        self._thread = threading.Thread(target=self._watch)

    def _lines(self) -> int:
        return self._output.read_bytes().count(b"\n") if self._output.exists() else 0

    def _watch(self) -> None:
        for lines, event in self._at.items():
            assert eventually(lambda lines=lines: self._lines() >= lines)  # type: ignore[misc]
            event()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


@pytest.fixture
def three(demo_directory: Path) -> Iterator[list[Running]]:
    with servers(str(demo_directory), 3) as running:
        yield running


def test_each_row_is_answered_once_whatever_becomes_of_the_servers(
    rows: Path, three: list[Running], demo_directory: Path
) -> None:
    steady, dying, hanging = three
    batch(rows, "one.jsonl", steady.url)
    late = start(str(demo_directory))
    late.kill()
    for one in three:
        one.hold(15)
    output = rows.with_name("all.jsonl")
    events = {
        20: dying.kill,
        25: lambda: hanging.tell(mode="hang"),
        26: lambda: late.start_again(str(demo_directory)),
        27: lambda: eventually(late.has_joined),
        28: steady.release,
    }
    try:
        with Events(output, events):
            said = batch(rows, "all.jsonl", *(one.url for one in (*three, late)))
    finally:
        late.kill()
    assert records(output) == records(rows.with_name("one.jsonl"))
    assert len(records(output)) == ROWS
    text = "\n".join(said)
    assert f"The server at {late.url} does not answer: Connection refused. It is asked" in text
    assert f"The server at {dying.url} does not answer" in text
    assert f"tulu: {late.url} has joined." in said
    told = json.loads(output.with_suffix(".stats").read_text())["servers"]
    assert sum(one["answers"] for one in told) == ROWS


def test_each_request_may_have_a_socket(rows: Path, three: list[Running]) -> None:
    few, most = len(os.listdir("/proc/self/fd")) + 40, resource.getrlimit(resource.RLIMIT_NOFILE)
    for one in three:
        one.hold(5)
    answering = threading.Timer(1.0, lambda: [one.release() for one in three])  # type: ignore[func-returns-value]
    answering.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most[1]))
    try:
        said = batch(rows, "all.jsonl", *(one.url for one in three))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
        answering.join()
    assert said[-1].startswith(f"tulu: {ROWS} rows, ")
    assert len(said) == len(three) + 1, said


def test_all_servers_must_run_one_model(
    rows: Path, three: list[Running], demo_directory: Path
) -> None:
    urls = [one.url for one in three]
    three[1].tell(salt=1)
    with pytest.raises(UsageError, match=rf"{urls[1]} answers otherwise than {urls[0]} does"):
        batch(rows, "x.jsonl", *urls)
    three[1].tell(salt=0, length=1024)
    with pytest.raises(UsageError, match=rf"{urls[1]} runs a context of 1,024, and {urls[0]} a"):
        batch(rows, "x.jsonl", *urls)
    assert "3 servers" not in batch(rows, "x.jsonl", *urls, resume=True, mixed=True)


def test_where_none_is_left_resuming_goes_on(
    rows: Path, three: list[Running], demo_directory: Path
) -> None:
    output, urls = rows.with_name("all.jsonl"), [one.url for one in three]

    for one in three:
        one.hold(20)

    def die() -> None:
        for one in three:
            one.kill()

    lost = pytest.raises(EngineDied, match="No server is left, and none came back within 1 s")
    with Events(output, {40: die}), lost:
        batch(rows, "all.jsonl", *urls, server_wait=1.0)
    with pytest.raises(EngineDied, match="None of 3 servers answers"):
        batch(rows, "all.jsonl", *urls, resume=True)
    with servers(str(demo_directory), 2) as others:
        urls = [one.url for one in others]
        batch(rows, "one.jsonl", urls[0])
        assert "after" in batch(rows, "all.jsonl", *urls, resume=True)[-1]
    assert records(output) == records(rows.with_name("one.jsonl"))


def test_a_file_of_servers_is_read_again_when_it_changes(
    rows: Path, three: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (one.url for one in three)
    for one in three:
        one.hold(20)
    monkeypatch.setattr(several, "_LOOK_SECONDS", 0.1)
    file = rows.with_name("servers.txt")
    file.write_text(f"# ours\n{first}\n{second}  # the old one\n")
    output = rows.with_name("all.jsonl")
    events: dict[int, Callable[[], object]] = {
        20: lambda: file.write_text(f"{first}\n{third}\n"),
        21: lambda: eventually(three[2].has_joined),
        22: lambda: [one.release() for one in three],  # type: ignore[func-returns-value]
    }
    with Events(output, events):
        said = batch(rows, "all.jsonl", f"@{file}")
    assert f"tulu: {third} has joined." in said
    assert len(set(records(output))) == ROWS
    told = json.loads(output.with_suffix(".stats").read_text())["servers"]
    states = {one["name"]: one["state"] for one in told}
    assert states[first] == states[third] == "open"
    assert states[second] in ("resting", "left out"), "it finishes what it has, and leaves"


def test_what_changes_in_a_file_while_servers_are_opened_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "_LOOK_SECONDS", 0.01)
    file, over, found = tmp_path / "servers.txt", threading.Event(), list[tuple[str, ...]]()

    def adjust(urls: tuple[str, ...]) -> None:
        found.append(urls)
        over.set()

    # It is not there for a moment, as where an editor writes it.
    threading.Timer(0.1, file.write_text, ["http://a\nhttp://b\n"]).start()
    several._watch([f"@{file}"], ("http://a",), adjust, over)
    assert found == [("http://a", "http://b")]


def test_servers_that_make_the_prompt_themselves_share_rows_too(rows: Path) -> None:
    rows.write_text("\n".join('{"prompt": "Hi"}' for _ in range(80)))
    with serving(strict) as one, serving(strict) as other, serving(strict, ("red-1",)) as wrong:
        said = batch(rows, "all.jsonl", one.url, other.url)
        assert len(one.seen) + len(other.seen) >= 82, "each was asked the probe"
        assert min(len(one.seen), len(other.seen)) > 10
        assert said[-1].startswith("tulu: 80 rows")
        # The other one takes over, as the first that is named is what resuming compares.
        batch(rows, "all.jsonl", one.url, other.url, resume=True)
        with pytest.raises(UsageError, match=f"{wrong.url} runs red-1, and {one.url} blue-1: all"):
            batch(rows, "x.jsonl", one.url, wrong.url)
        # One that answers otherwise each time is compared with others, not with itself.
        (file := rows.with_name("servers.txt")).write_text(other.url)
        other.replies = [stream(text_chunk(0, "Blue"), end_chunk(0, "stop"))]
        assert batch(rows, "only.jsonl", f"@{file}")[-1].startswith("tulu: 80 rows")


def test_what_asks_one_thing_takes_one_server(three: list[Running], tmp_path: Path) -> None:
    urls = [one.url for one in three]
    done = tulu("complete", "Hi", "--server", urls[0], "--server", urls[1])
    assert (done.returncode, done.stderr) == (
        2,
        b"tulu: One server answers here: give --server once.\n",
    )
    three[0].kill()
    config = tmp_path / "config.toml"
    config.write_text(f"[server]\nserver = {json.dumps(urls)}\n")
    done = tulu("complete", "Hi", "--raw", "--max-tokens", "4", env={"TULU_CONFIG": str(config)})
    assert (done.returncode, done.stderr) == (0, b"")
    assert [one.tell() for one in three[1:]] == [1, 0]
