"""Repositories: fetched from a Hub on this machine, or found in a cache laid out like its own."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tulu_cli.errors import BadInput, ModelNotFound, TuluError
from tulu_cli.models import locate, resolve

from .fake_hub import COMMIT, FakeHub, fill_cache
from .repository import FILES, REPO, TEXTS, WEIGHTS


def test_a_model_is_fetched_without_pickles(hub: FakeHub) -> None:
    hub.repositories[REPO] = FILES | {"original/consolidated.00.pth": b"", "onnx/a.json": b"{}"}
    files = locate(resolve("8b"))
    assert files.revision == COMMIT
    assert files.eos_token_ids == (128001,)
    assert files.ref.is_tulu
    assert hub.fetched() == {*TEXTS, "model.safetensors"}
    assert (files.directory / "model.safetensors").read_bytes() == WEIGHTS


def test_progress_counts_the_bytes_up_to_all(hub: FakeHub) -> None:
    hub.repositories[REPO] = FILES
    heard: list[tuple[str, int, int]] = []
    locate(resolve(REPO), progress=lambda *call: heard.append(call))
    texts, size = sum(map(len, TEXTS.values())), len(WEIGHTS)
    ends = {stage: (done, total) for stage, done, total in heard}
    assert ends == {
        f"Reading the configuration of {REPO}": (texts, texts),
        f"Downloading {REPO} (0.00 GiB)": (size, size),
        "model.safetensors": (size, size),
    }
    for stage in ends:
        done = [call[1] for call in heard if call[0] == stage]
        assert done == sorted(done)


def test_nothing_is_drawn(hub: FakeHub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO))
    locate(resolve(REPO), weights=False)
    assert capfd.readouterr() == ("", "")


def test_without_weights_only_texts_are_fetched_and_weights_follow_later(hub: FakeHub) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO), weights=False)
    assert hub.fetched() == set(TEXTS)
    assert (locate(resolve(REPO)).directory / "model.safetensors").is_file()


@pytest.mark.parametrize("offline", [False, True])
def test_pickles_alone_are_refused(hub: FakeHub, hub_cache: Path, *, offline: bool) -> None:
    hub.repositories[REPO] = TEXTS | {"pytorch_model.bin": b"pickle"}
    if offline:
        fill_cache(hub_cache, REPO, hub.repositories[REPO])
    with pytest.raises(BadInput, match=f"'{REPO}' has its weights only as pickle"):
        locate(resolve(REPO), offline=offline)
    assert "pytorch_model.bin" not in hub.fetched()
    assert locate(resolve(REPO), offline=offline, weights=False).revision == COMMIT


@pytest.mark.parametrize("offline", [False, True])
def test_an_adapter_is_called_one(hub: FakeHub, hub_cache: Path, *, offline: bool) -> None:
    told = b'{"base_model_name_or_path": "org/base"}'
    hub.repositories[REPO] = {"adapter_config.json": told, "adapter_model.safetensors": b""}
    if offline:
        fill_cache(hub_cache, REPO, hub.repositories[REPO])
    with pytest.raises(ModelNotFound, match="is an adapter of 'org/base'"):
        locate(resolve(REPO), offline=offline)


def test_a_repository_of_gguf_files_says_what_to_do(hub: FakeHub) -> None:
    hub.repositories["org/x-GGUF"] = {"x.Q4_K_M.gguf": b"GGUF", "README.md": b""}
    with pytest.raises(ModelNotFound, match="GGUF files"):
        locate(resolve("org/x-GGUF"))


@pytest.mark.parametrize(
    ("answer", "kind", "advice"),
    [
        ((403, "GatedRepo"), ModelNotFound, "accept its licence"),
        ((404, "RepoNotFound"), ModelNotFound, "no repository org/x"),
        ((401, "RepoNotFound"), ModelNotFound, "hf auth login"),
        ((429, ""), TuluError, "try later"),
        ((500, ""), TuluError, "answered 500"),
        ((403, ""), TuluError, "refused the login"),
    ],
)
def test_a_refusal_says_what_to_do(
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, str],
    kind: type[TuluError],
    advice: str,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the library waits before it tries again
    hub.refuse["org/x"] = answer
    with pytest.raises(kind, match=advice) as caught:
        locate(resolve("org/x"))
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()


def test_a_revision_that_is_not_there(hub: FakeHub) -> None:
    hub.repositories[REPO] = FILES
    with pytest.raises(ModelNotFound, match=f"no revision {REPO}@v9"):
        locate(resolve(f"{REPO}@v9"))


def test_a_name_that_only_the_hub_refuses(hub_cache: Path) -> None:
    for offline in (False, True):
        with pytest.raises(ModelNotFound, match="org/name"):
            locate(resolve("org/a--b"), offline=offline)
    assert not hub_cache.exists()


def test_a_broken_connection_leaves_no_half_model(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.repositories[REPO] = FILES
    hub.broken.add("model.safetensors")
    with pytest.raises(TuluError):
        locate(resolve(REPO))
    with pytest.raises(ModelNotFound):
        locate(resolve(REPO), offline=True)
    hub.broken.clear()
    assert (locate(resolve(REPO)).directory / "model.safetensors").read_bytes() == WEIGHTS


def test_a_disk_too_small_is_refused_before_the_download(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[REPO] = FILES
    full = SimpleNamespace(total=1, used=1, free=0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    with pytest.raises(TuluError, match="of disk and"):
        locate(resolve(REPO))
