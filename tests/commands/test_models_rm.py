"""`tulu models rm`: removes what is cached, says what it was, and nothing of the user's own."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.fake_hub import COMMIT, etag, fill_cache
from tests.models.repository import FILES, REPO, TEXTS
from tests.models.tiny_gguf import write_tiny_gguf
from tulu_cli.commands.models.rm import RmOptions, run
from tulu_cli.disk import locked
from tulu_cli.errors import ModelNotFound, TuluError, UsageError
from tulu_cli.models import resolve
from tulu_cli.models.cache import build_lock
from tulu_cli.models.hub import hub_folder
from tulu_cli.models.installed import converted_path, look
from tulu_cli.streams import Streams

SIZE = sum(map(len, FILES.values()))
OTHER = "1" * 40


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches: what is given is the Hub's."""
    monkeypatch.setenv("TULU_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def removed(name: str, *, yes: bool = True, typed: bytes | None = None, **options: bool) -> str:
    """What is said; `typed` makes it a terminal."""
    streams = Streams.test(typed or b"", tty=typed is not None)
    try:
        run(RmOptions(name, yes, **options), streams, {"ours": REPO})
    finally:
        said = streams.stderr.getvalue().decode()  # type: ignore[attr-defined]
    out = streams.stdout.getvalue().decode()  # type: ignore[attr-defined]
    return str(out if options.get("json_output") else said)


@pytest.fixture
def demo(caches: Path) -> Path:
    directory = converted_path(resolve("demo"))
    directory.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (directory / name).write_bytes(b"12345")
    return directory


@pytest.mark.parametrize("name", ["8b", REPO, "ours"])
def test_a_repository_goes_whole(caches: Path, name: str) -> None:
    fill_cache(caches, REPO, FILES)
    fill_cache(caches, "org/other", FILES)
    (hub_folder(REPO) / "blobs/abc.0123abcd.incomplete").write_bytes(bytes(1000))
    said = removed(name)
    assert f"Removed {REPO} from {hub_folder(REPO)}, " in said
    assert f"({SIZE + 1000:,} bytes)" in said
    assert not hub_folder(REPO).exists()
    assert look(resolve("org/other")).state == "complete"
    with pytest.raises(ModelNotFound, match="there is nothing to remove"):
        removed(name)


def contents(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.fixture
def protected(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """A folder that may not be written, for root too, who may run these tests."""

    def protect(folder: Path) -> None:
        def access(path: Path, mode: int, **_: bool) -> bool:
            return Path(path) != folder

        monkeypatch.setattr("tulu_cli.models.installed.os.access", access)

    return protect


@pytest.mark.parametrize("part", ["", ".", "blobs", "refs", "snapshots", f"snapshots/{COMMIT}"])
@pytest.mark.parametrize("revision", ["", "@main"])
def test_nothing_goes_where_a_part_may_not(
    caches: Path, protected: Callable[[Path], None], part: str, revision: str
) -> None:
    fill_cache(caches, REPO, FILES)
    before = contents(caches)
    protected(hub_folder(REPO) / part if part else caches)
    with pytest.raises(TuluError, match=r"cannot be removed, and nothing .* may not write to"):
        removed(REPO + revision)
    assert contents(caches) == before


def test_a_conversion_stays_whole_where_it_may_not_be_removed(
    demo: Path, protected: Callable[[Path], None]
) -> None:
    before = contents(demo)
    protected(demo)
    with pytest.raises(TuluError, match="may not write to"):
        removed("demo")
    assert contents(demo) == before


def test_one_revision_leaves_what_others_share(caches: Path) -> None:
    fill_cache(caches, REPO, FILES, OTHER)
    fill_cache(caches, REPO, FILES | {"model.safetensors": b"new"})
    said = json.loads(removed(f"{REPO}@main", json_output=True))
    assert said == {"model": f"{REPO}@main", "path": str(hub_folder(REPO)), "bytes": 3}
    assert look(resolve(f"{REPO}@{OTHER}")).state == "complete"
    assert not (hub_folder(REPO) / "snapshots" / COMMIT).exists()
    with pytest.raises(ModelNotFound):
        removed(f"{REPO}@{COMMIT}")
    removed(f"{REPO}@{OTHER}")
    assert look(resolve(REPO)).state == "none"


@pytest.mark.parametrize("damage", ["no snapshots", "a lost blob", "a reference to nothing"])
def test_what_the_library_calls_damaged_goes_too(caches: Path, damage: str) -> None:
    snapshot = fill_cache(caches, REPO, TEXTS)
    if damage == "no snapshots":
        snapshot.parent.rename(snapshot.parents[1] / "elsewhere")
    elif damage == "a lost blob":
        (snapshot / "config.json").resolve().unlink()
    else:
        (hub_folder(REPO) / "refs/main").write_text(OTHER)
    removed(REPO)
    assert not hub_folder(REPO).exists()


def test_what_is_being_fetched_stays(caches: Path) -> None:
    fill_cache(caches, REPO, FILES)
    lock = caches / ".locks" / hub_folder(REPO).name / f"{etag('config.json', b'{}')}.lock"
    with (
        locked(lock, lambda: None),
        pytest.raises(TuluError, match="Another process is fetching"),
    ):
        removed(REPO)
    assert look(resolve(REPO)).state == "complete"
    removed(REPO)


def test_the_demo(demo: Path) -> None:
    assert f"Removed demo from {demo}, 0.00 GiB (15 bytes)." in removed("demo")
    assert not demo.exists()
    assert list(demo.parent.glob(".staging/*")) == []
    with pytest.raises(ModelNotFound):
        removed("demo")


def test_what_is_being_converted_stays(demo: Path) -> None:
    with locked(build_lock(demo), lambda: None), pytest.raises(TuluError, match="Another process"):
        removed("demo")
    assert demo.exists()


def test_a_conversion_goes_and_the_file_stays(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(ModelNotFound):
        removed(str(file))
    directory = converted_path(resolve(str(file)))
    directory.mkdir(parents=True)
    (directory / "config.json").write_bytes(b"{}")
    removed(str(file))
    assert not directory.exists()
    assert file.exists()


def test_a_directory_of_the_users_own_is_never_removed(caches: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text("{}")
    snapshot = fill_cache(caches, REPO, FILES)
    for path in (own, snapshot):
        with pytest.raises(UsageError, match="directory of yours"):
            removed(str(path))
    assert (own / "config.json").exists()
    assert look(resolve(REPO)).state == "complete"


def test_a_pipe_needs_yes(caches: Path) -> None:
    fill_cache(caches, REPO, FILES)
    with pytest.raises(UsageError, match=r"--yes is needed to remove allenai.* bytes"):
        removed(REPO, yes=False)
    assert look(resolve(REPO)).state == "complete"


@pytest.mark.parametrize("typed", [b"", b"\n", b"n\n", b"yess\n", b"\xff\n", b"\x1b[A\n"])
def test_anything_but_yes_is_no(caches: Path, typed: bytes) -> None:
    fill_cache(caches, REPO, FILES)
    with pytest.raises(TuluError, match="Nothing was removed"):
        removed(REPO, yes=False, typed=typed)
    assert look(resolve(REPO)).state == "complete"


@pytest.mark.parametrize("typed", [b"y\n", b"Yes\n", b" y "])
def test_yes(caches: Path, typed: bytes) -> None:
    fill_cache(caches, REPO, FILES)
    said = removed(REPO, yes=False, typed=typed)
    assert said.startswith(f"Remove {REPO} from ")
    assert not hub_folder(REPO).exists()


def test_a_cache_that_may_not_be_changed(
    caches: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fill_cache(caches, REPO, FILES)
    refuse: Callable[..., None] = _refuse  # a chmod does not stop root
    monkeypatch.setattr("shutil.rmtree", refuse)
    monkeypatch.setattr("os.remove", refuse)
    for name in (REPO, f"{REPO}@main"):
        with pytest.raises((TuluError, PermissionError)):
            removed(name)
    assert capfd.readouterr() == ("", "")
    assert os.path.isdir(hub_folder(REPO))


def _refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")
