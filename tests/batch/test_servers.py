"""Several servers of one model, in processes that die, hang, fail, lie and come late."""

import io
import json
import os
import resource
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.foreign_server import end_chunk, serving, stream, strict, text_chunk
from tests.program import eventually, tulu
from tests.token_server import Running, server_to_come, servers
from tulu_cli.batch.options import BatchOptions
from tulu_cli.batch.session import run
from tulu_cli.core import Completion, Done, Text, Timings, TokenLogprob
from tulu_cli.engines.remote.pool import FIRST
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


def batch(
    rows: Path,
    output: str,
    *places: str,
    resume: bool = False,
    streams: Streams | None = None,
    **load: Any,
) -> list[str]:
    """Answer the rows, and return what was said."""
    streams = streams or Streams.test()
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
        said = what_was_said(streams)
    return said


def what_was_said(streams: Streams) -> list[str]:
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stderr.getvalue().decode().splitlines()


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
    for one in three:
        one.hold(15)
    output = rows.with_name("all.jsonl")
    with server_to_come() as late:
        events = {
            20: dying.kill,
            25: lambda: hanging.tell(mode="hang"),
            26: lambda: late.start(str(demo_directory)),
            27: lambda: eventually(late.has_joined),
            28: steady.release,
        }
        with Events(output, events):
            said = batch(rows, "all.jsonl", *(one.url for one in (*three, late)))
    assert records(output) == records(rows.with_name("one.jsonl"))
    assert len(records(output)) == ROWS
    text = "\n".join(said)
    assert f"The server at {late.url} does not answer: Connection refused. It is asked" in text
    assert f"The server at {dying.url} does not answer" in text
    assert f"tulu: {late.url} has joined." in said
    told = json.loads(output.with_suffix(".stats").read_text())["servers"]
    assert sum(one["answers"] for one in told) == ROWS


def test_a_server_that_fails_every_request_rests_after_three(
    rows: Path, three: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tulu_cli.engines.remote.wire._FIRST_PAUSE_SECONDS", 0.0)
    steady, other, failing = three
    for one in three:
        one.hold(15)
    output, streams = rows.with_name("all.jsonl"), Streams.test()
    refused = "The server refused the request (500): out of order."
    rests = f"tulu: {failing.url}: {refused} It is asked again."

    def fail() -> None:
        failing.tell(mode="fail")
        failing.release()
        assert eventually(lambda: rests in what_was_said(streams))

    with Events(output, {20: fail, 21: steady.release, 22: other.release}):
        batch(rows, "all.jsonl", *(one.url for one in three), streams=streams)
    answered = [json.loads(line) for line in records(output)]
    assert [row["line"] for row in answered] == [*range(1, ROWS + 1)]
    assert not any("error" in row for row in answered)
    told = json.loads(output.with_suffix(".stats").read_text())["servers"]
    assert next(one for one in told if one["name"] == failing.url)["state"] == "away"


def test_each_request_may_have_a_socket(rows: Path, three: list[Running]) -> None:
    few, most = len(os.listdir("/proc/self/fd")) + 40, resource.getrlimit(resource.RLIMIT_NOFILE)
    for one in three:
        one.hold(5)

    def release() -> None:
        """Let them answer once they are asked for all that one process asks of three at once."""
        assert eventually(lambda: sum(one.tell() for one in three) >= 3 * FIRST)
        for one in three:
            one.release()

    answering = threading.Thread(target=release)
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
    output, streams = rows.with_name("all.jsonl"), Streams.test()
    left = f"tulu: {second} has left."
    events: dict[int, Callable[[], object]] = {
        20: lambda: file.write_text(f"{first}\n{third}\n"),
        21: lambda: eventually(three[2].has_joined),
        22: three[1].release,
        23: lambda: eventually(lambda: left in what_was_said(streams)),
        24: three[2].release,
        25: three[0].release,
    }
    with Events(output, events):
        said = batch(rows, "all.jsonl", f"@{file}", streams=streams)
    assert f"tulu: {third} has joined." in said
    assert len(set(records(output))) == ROWS
    told = json.loads(output.with_suffix(".stats").read_text())["servers"]
    states = {one["name"]: one["state"] for one in told}
    assert states[first] == states[third] == "open"
    assert states[second] == "left out", "it has finished what it had, and left"
    assert said.count(left) == 1


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


def answer(ids: Sequence[int], *tops: Mapping[int, float]) -> Completion:
    """A greedy answer, with the likeliest tokens in each place."""
    logprobs = tuple(
        TokenLogprob(token, top[token], tuple(top.items()))
        for token, top in zip(ids, tops, strict=False)
    )
    text = Text(" ".join(map(str, ids)), tuple(ids), 0, logprobs)
    return Completion.of([text], Done("length", None, Timings(0, 0, 0), 0))


SURE = {1: -0.1, 2: -4.0}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (answer((1, 1), SURE, SURE), answer((1, 1), SURE, SURE), True),
        (answer((1, 1)), answer((1, 1)), True),
        (answer((1, 1)), answer((1, 2)), False),  # nothing says how near they were
        (answer((1,), SURE), answer((1, 1), SURE, SURE), False),
        # Both found the two tokens about as likely, whatever comes after.
        (
            answer((1, 1, 5), SURE, {1: -0.7, 2: -0.8}, SURE | {5: -0.1}),
            answer((1, 2, 7), SURE, {1: -0.8, 2: -0.7}, SURE | {7: -0.1}),
            True,
        ),
        (answer((1,), {1: -0.5, 2: -1.0}), answer((2,), {1: -0.9, 2: -0.7}), True),
        (answer((1,), {1: -0.5, 2: -1.01}), answer((2,), {1: -0.9, 2: -0.7}), False),
        (answer((1,), {1: -0.9, 2: -1.0}), answer((2,), {1: -1.3, 2: -0.7}), False),
        # One has not even seen the other's token.
        (answer((1,), {1: -0.7, 3: -0.7}), answer((2,), {1: -0.7, 2: -0.7}), False),
    ],
)
def test_answers_are_alike_that_part_where_two_tokens_are_as_likely(
    one: Completion, other: Completion, expected: bool
) -> None:
    assert several.are_alike(one, other) is expected
    assert several.are_alike(other, one) is expected


def test_texts_without_token_ids_are_alike_where_they_are_equal() -> None:
    blue, red, thought = (
        Completion.of([piece], Done("stop", None, Timings(0, 0, 0), 0))
        for piece in (Text("blue"), Text("red"), Text("blue", channel="thought"))
    )
    assert several.are_alike(blue, blue)
    assert not several.are_alike(blue, red)
    assert not several.are_alike(blue, thought)
