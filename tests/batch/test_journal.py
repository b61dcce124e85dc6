"""The output file: whole lines, each row once, and nothing of anybody else's."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.program import eventually
from tulu_cli.batch.journal import Journal, Key, drop_errors, open_journal, read_key
from tulu_cli.errors import BadInput, ReaderGone, TuluError, UsageError

SETTINGS = 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def record(line: int, row: int = 3, settings: int = SETTINGS, **rest: object) -> str:
    return json.dumps({"line": line, "key": str(Key(line, row, settings)), **rest})


def begun(path: Path, *records: str, tail: str = "") -> Path:
    path.write_text("".join(f"{one}\n" for one in records) + tail)
    return path


def resumed(path: Path, settings: int = SETTINGS) -> Journal:
    return open_journal(path, settings, resume=True, overwrite=False)


def test_keys_are_read_from_both_formats() -> None:
    key = Key(12, 2**64 - 1, 7)
    assert read_key({"key": str(key)}) == key == read_key({"id": f"tulu-{key}"})
    others: list[object] = [None, [], {}, {"key": 3}, {"id": "batch_req_1"}, {"key": f"{key}0"}]
    for other in others:
        assert read_key(other) is None


def test_what_was_written_is_taken_up(path: Path) -> None:
    journal = open_journal(path, SETTINGS, resume=False, overwrite=False)
    journal.write(record(1))
    journal.write(record(9, row=4))
    journal.close()
    again = resumed(path)
    assert again.finished == 2
    assert [line for line in range(12) if again.has(line, 4 if line == 9 else 3)] == [1, 9]
    again.close()


@pytest.mark.parametrize("tail", ["{", '{"line": 3, "key": "3-000', record(3), "\0" * 20])
def test_a_torn_last_line_is_cut_off(path: Path, tail: str) -> None:
    journal = resumed(begun(path, record(1), record(2), tail=tail))
    assert journal.finished == 2
    assert not journal.has(3, 3)
    journal.write(record(3))
    journal.close()
    assert path.read_text() == "".join(f"{record(line)}\n" for line in (1, 2, 3))


@pytest.mark.parametrize("text", ['{"a": 1}\n', "hello\n", f"x\n{record(1)}\n", f"\n{record(1)}\n"])
def test_a_file_of_somebody_elses_is_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(BadInput, match="line 1, is not a record of tulu batch"):
        resumed(path)
    assert path.read_text() == text


def test_other_settings_are_refused_and_both_are_named(path: Path) -> None:
    begun(path, record(1))
    with pytest.raises(UsageError, match=f"{SETTINGS:016x}, it is {SETTINGS + 1:016x} now"):
        resumed(path, SETTINGS + 1)
    assert path.read_text() == f"{record(1)}\n"


def test_another_input_is_refused(path: Path) -> None:
    journal = resumed(begun(path, record(4)))
    with pytest.raises(BadInput, match="Line 4 of the input is not the one"):
        journal.has(4, 99)
    journal.close()


def test_a_file_with_something_in_it_needs_a_word(path: Path) -> None:
    begun(path, record(1))
    with pytest.raises(UsageError, match="--resume goes on with it, --overwrite replaces it"):
        open_journal(path, SETTINGS, resume=False, overwrite=False)
    open_journal(path, SETTINGS, resume=False, overwrite=True).close()
    assert path.read_bytes() == b""


def test_two_cannot_write_one_file(path: Path) -> None:
    journal = open_journal(path, SETTINGS, resume=False, overwrite=False)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="Another tulu batch is writing"):
            open_journal(path, SETTINGS, resume=not overwrite, overwrite=overwrite)
    journal.close()
    resumed(path).close()


def test_a_worker_that_lives_on_keeps_nobody_from_writing(path: Path) -> None:
    """As vLLM's forked one does after a kill -9 of the batch, until it notices."""
    journal = open_journal(path, SETTINGS, resume=False, overwrite=False)
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writable)
        os.read(readable, 1)  # until the other end is closed
        os._exit(0)
    os.close(readable)
    try:
        with pytest.raises(UsageError, match="Another tulu batch is writing"):
            resumed(path)
        os.close(journal._descriptor)  # all that a kill does
        assert eventually(lambda: is_free(path))
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it lives"
    finally:
        os.close(writable)
        os.waitpid(child, 0)


def is_free(path: Path) -> bool:
    try:
        resumed(path).close()
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("name", ["", "no/such/folder"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(TuluError, match="cannot be written: "):
        open_journal(tmp_path / name, SETTINGS, resume=False, overwrite=False)


def test_a_full_disk_leaves_whole_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal(path, SETTINGS, resume=False, overwrite=False)
    journal.write(record(1))
    honest = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return honest(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tulu_cli.batch.journal.os.write", full)
    with pytest.raises(TuluError, match="No space left on device"):
        journal.write(record(2) + "x" * 15)
    journal.close()
    assert path.read_text() == f"{record(1)}\n"


def started(path: Path) -> Journal:
    """Open a journal, and write two records to it."""
    journal = open_journal(path, SETTINGS, resume=False, overwrite=False)
    for line in (1, 2):
        journal.write(record(line))
    return journal


def test_a_file_that_is_deleted_meanwhile_is_written_anew(path: Path) -> None:
    journal = started(path)
    path.unlink()
    with pytest.raises(TuluError, match=r"was deleted .*; the answers are in '.*out.jsonl'\.$"):
        journal.write(record(3))
    assert not journal.can_be_resumed
    journal.close()
    again = resumed(path)
    assert again.finished == 2
    again.close()


def test_a_file_that_is_replaced_meanwhile_leaves_its_answers_beside(path: Path) -> None:
    journal = started(path)
    path.with_name("other").write_text("theirs")
    path.with_name("other").replace(path)
    with pytest.raises(TuluError, match=r"or replaced .*; the answers are in '.*rescued-1'\.$"):
        journal.close()
    assert path.read_text() == "theirs"
    again = resumed(path.with_name("out.jsonl.rescued-1"))
    assert again.finished == 2
    again.close()


def test_answers_that_cannot_be_kept_are_said_to_be_lost(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    journal = started(folder / "out.jsonl")
    shutil.rmtree(folder)
    with pytest.raises(TuluError, match="the answers could not be kept"):
        journal.write(record(3))
    journal.close()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_is_moved_meanwhile_is_found(path: Path, *, is_replaced: bool) -> None:
    journal = started(path)
    moved = path.rename(path.with_name("moved.jsonl"))
    if is_replaced:
        path.write_text("theirs")
    journal.write(record(3))
    with pytest.raises(TuluError, match=r"was moved .*answers are in '.*/moved\.jsonl'\.$"):
        journal.sync()
    journal.close()
    again = resumed(moved)
    assert again.finished == 3
    again.close()


@pytest.mark.parametrize("size", [0, 10, -5])
def test_a_file_that_is_cut_meanwhile_can_be_resumed(path: Path, size: int) -> None:
    journal = started(path)
    os.truncate(path, size % path.stat().st_size)
    with pytest.raises(TuluError, match=r"was cut by another program, from .* bytes: --resume"):
        journal.write(record(3))
    assert journal.can_be_resumed
    with pytest.raises(TuluError, match="was cut"):
        journal.close()
    again = resumed(path)
    assert again.finished == (1 if size < 0 else 0)
    again.close()


def test_a_disk_that_loses_what_it_took_is_no_success(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    journal = started(path)
    monkeypatch.setattr("tulu_cli.batch.journal.os.fsync", failing)
    with pytest.raises(TuluError, match="cannot be written: Input/output error"):
        journal.close()


def test_a_pipe_is_written_until_its_reader_leaves(path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    journal = open_journal(path, SETTINGS, resume=False, overwrite=True)
    assert not journal.can_be_resumed
    journal.write(record(1))
    journal.sync()
    assert os.read(reader, 1000).decode() == f"{record(1)}\n"
    os.close(reader)
    with pytest.raises(ReaderGone, match=r"The reader of '.*' went away"):
        journal.write(record(2))
    journal.close()


def test_what_is_not_a_file_cannot_be_resumed(path: Path) -> None:
    os.mkfifo(path)
    for place in (path, Path(os.devnull)):
        with pytest.raises(UsageError, match=r"--resume reads what the output has, and .* not a"):
            resumed(place)
        with pytest.raises(UsageError, match="not a file"):
            drop_errors(place)


def test_two_may_write_to_one_device() -> None:
    both = [
        open_journal(Path(os.devnull), SETTINGS, resume=False, overwrite=False) for _ in range(2)
    ]
    for journal in both:
        journal.write(record(1))
        journal.close()


def test_a_socket_is_one_sentence(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        with pytest.raises(TuluError, match="cannot be written: No such device or address"):
            open_journal(path, SETTINGS, resume=False, overwrite=False)


def test_records_are_synced_at_intervals(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    synced: list[float] = []
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    journal = Journal(path, descriptor, clock)
    monkeypatch.setattr("tulu_cli.batch.journal.os.fsync", lambda _: synced.append(now[0]))
    for now[0] in (0.0, 0.5, 0.9, 1.1, 1.5, 2.2):
        journal.write(record(1))
    assert synced == [1.1, 2.2]
    journal.close()
    assert len(synced) == 3


def test_error_records_can_be_taken_out(path: Path) -> None:
    begun(path, record(1), record(2, error={"code": "x"}), record(3, error=None), tail="{torn")
    path.chmod(0o640)
    assert drop_errors(path) == 1
    assert path.read_text() == f"{record(1)}\n{record(3, error=None)}\n" + "{torn"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(path.parent.iterdir()) == [path]
    assert drop_errors(path.with_name("none")) == 0
