"""When the Hub's cache serves, with the network, without it, and with half a model in it."""

import json
from pathlib import Path

import pytest

from tulu_cli.errors import ModelNotFound
from tulu_cli.models import locate, resolve

from .fake_hub import COMMIT, FakeHub, fill_cache
from .repository import FILES, REPO, TEXTS


def test_a_commit_in_the_cache_opens_no_socket(hub_cache: Path, no_sockets: list[object]) -> None:
    fill_cache(hub_cache, REPO, FILES)
    assert locate(resolve(f"{REPO}@{COMMIT}")).revision == COMMIT
    assert no_sockets == []
    with pytest.raises(ModelNotFound, match="cannot be reached"):
        locate(resolve(f"{REPO}@{'0' * 40}"))
    assert no_sockets


@pytest.mark.parametrize("switch", ["argument", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_opens_no_socket(
    hub_cache: Path, no_sockets: list[object], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    fill_cache(hub_cache, REPO, FILES)
    if switch != "argument":
        monkeypatch.setenv(switch, "1")
    offline = switch == "argument"
    assert locate(resolve(REPO), offline=offline).revision == COMMIT
    with pytest.raises(ModelNotFound, match=r"not in the cache.*offline"):
        locate(resolve("70b"), offline=offline)
    assert no_sockets == []


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json", "model.safetensors"])
def test_half_a_cache_is_no_model_offline(hub_cache: Path, lost: str) -> None:
    snapshot = fill_cache(hub_cache, REPO, FILES)
    (snapshot / lost).resolve().unlink()  # the blob goes, its link stays
    (snapshot / "pytorch_model.bin").unlink()
    with pytest.raises(ModelNotFound, match="or only in part"):
        locate(resolve(REPO), offline=True)


def test_a_missing_shard_is_seen_offline(hub_cache: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    shards = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        "model-1.safetensors": b"1",
    }
    fill_cache(hub_cache, REPO, TEXTS | shards)
    with pytest.raises(ModelNotFound):
        locate(resolve(REPO), offline=True)
    assert locate(resolve(REPO), offline=True, weights=False).revision == COMMIT


def test_out_of_reach_the_cached_copy_serves(hub_cache: Path, no_sockets: list[object]) -> None:
    fill_cache(hub_cache, REPO, FILES)
    assert locate(resolve(REPO)).revision == COMMIT
    assert no_sockets
    with pytest.raises(ModelNotFound, match="cannot be reached"):
        locate(resolve("70b"))


def test_out_of_reach_half_a_copy_does_not(hub_cache: Path, no_sockets: list[object]) -> None:
    fill_cache(hub_cache, REPO, TEXTS)
    with pytest.raises(ModelNotFound, match="cannot be reached"):
        locate(resolve(REPO))
    assert no_sockets


def test_a_copy_that_the_hub_made_serves_when_it_is_gone(hub: FakeHub) -> None:
    hub.repositories[REPO] = FILES
    locate(resolve(REPO))
    hub.stop()
    assert locate(resolve(REPO)).revision == COMMIT
