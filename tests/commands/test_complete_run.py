"""From options to output, without a process: engines that fail, and who is told what."""

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tulu_cli.commands import complete
from tulu_cli.commands.complete import CompleteOptions
from tulu_cli.core import Done, Request, Text
from tulu_cli.engines import fake
from tulu_cli.errors import EngineDied, EngineError, ModelNotFound
from tulu_cli.loading import LoadOptions
from tulu_cli.machine import Machine
from tulu_cli.request.inputs import Given
from tulu_cli.settings import Setting, Settings
from tulu_cli.streams import Streams

Events = Callable[[Iterator[Text | Done]], Iterator[Text | Done]]


@pytest.fixture
def options(demo_directory: Path) -> CompleteOptions:
    values = {"engine": "fake", "model": str(demo_directory)}
    settings = Settings({name: Setting(value, "flag") for name, value in values.items()})
    return CompleteOptions(LoadOptions(settings), Given("one two three"), raw=True)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a function of the test's own between the fake engine's events and the command."""
    closed: list[bool] = []

    def install(events: Events) -> list[bool]:
        honest = fake.FakeEngine.stream

        def stream(self: fake.FakeEngine, request: Request) -> Iterator[Text | Done]:
            try:
                yield from events(honest(self, request))
            finally:
                closed.append(True)

        monkeypatch.setattr(fake.FakeEngine, "stream", stream)
        monkeypatch.setattr(fake.FakeEngine, "close", lambda _self: closed.append(True))
        return closed

    return install


def outcome(options: CompleteOptions, streams: Streams) -> tuple[str, str, BaseException | None]:
    """stdout, stderr, and what was raised."""
    caught = None
    try:
        complete.run(options, streams, Machine())
    except BaseException as error:
        caught = error
    assert isinstance(streams.stdout, io.BytesIO)
    assert isinstance(streams.stderr, io.BytesIO)
    return streams.stdout.getvalue().decode(), streams.stderr.getvalue().decode(), caught


def first_then(error: BaseException) -> Events:
    def events(honest: Iterator[Text | Done]) -> Iterator[Text | Done]:
        yield next(honest)
        raise error

    return events


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineError("It broke."), "error"),
        (EngineDied("It is gone."), "error"),
        (KeyError("a bug"), "error"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(143), "interrupted"),
    ],
)
def test_what_has_come_is_kept_whatever_ends_it(
    options: CompleteOptions, engine: Any, error: BaseException, reason: str
) -> None:
    closed = engine(first_then(error))
    stdout, stderr, caught = outcome(replace(options, stats=True), Streams.test())
    assert (stdout, caught) == ("one\n", error)
    ended = rf"1 completion tokens, first token \d\.\d\d s, 0\.0 tokens/s, stopped by {reason}"
    assert re.search(ended, stderr)
    assert closed == [True, True], "the request, and the engine"
    stdout, _, caught = outcome(replace(options, json_output=True), Streams.test())
    (choice,) = json.loads(stdout)["choices"]
    assert (choice["text"], choice["finish_reason"], caught) == ("one", reason, error)


def test_a_reader_that_leaves_cancels_the_request(options: CompleteOptions, engine: Any) -> None:
    class Gone(io.BytesIO):
        def write(self, _data: Any) -> int:
            raise BrokenPipeError

    closed = engine(iter)
    streams = Streams.test()
    streams.stdout = Gone()
    _, _, caught = outcome(options, streams)
    assert isinstance(caught, BrokenPipeError)
    assert closed == [True, True]


def test_the_answer_is_streamed(options: CompleteOptions, engine: Any) -> None:
    streams, seen = Streams.test(), []

    def events(honest: Iterator[Text | Done]) -> Iterator[Text | Done]:
        for event in honest:
            assert isinstance(streams.stdout, io.BytesIO)
            seen.append(streams.stdout.getvalue())
            yield event

    engine(events)
    outcome(options, streams)
    assert seen[:3] == [b"", b"one", b"one two"]


def test_what_arrives_while_the_engine_loads_is_read(
    options: CompleteOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Streams):
        def stdin_ready(self, seconds: float) -> bool:
            return seconds == 0

    buffers = Streams.test(b"data")
    late = Late(buffers.stdin, buffers.stdout, buffers.stderr)
    assert outcome(options, late) == ("one two three\n\ndata\n", "", None)


def test_a_model_that_is_not_there_is_refused_before_stdin_is_read(
    options: CompleteOptions,
) -> None:
    streams = Streams.test(b"data")
    values = {**options.load.settings.values, "model": Setting("nope", "flag")}
    nowhere = replace(options, load=LoadOptions(Settings(values)), given=Given())
    stdout, _, caught = outcome(nowhere, streams)
    assert isinstance(caught, ModelNotFound)
    assert stdout == ""
    assert streams.stdin.read() == b"data"


def test_a_bad_prompt_is_refused_before_the_weights_are_loaded(
    options: CompleteOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "load", lambda _spec: pytest.fail("it was loaded"))
    stdout, _, caught = outcome(replace(options, given=Given("")), Streams.test())
    assert (stdout, str(caught)[:20]) == ("", "The prompt is empty:")
