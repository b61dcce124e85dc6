"""The headers of safetensors files: on disk, and on the Hub by range requests."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.models.fake_hub import FakeHub
from tulu_cli.errors import BadInput, ModelNotFound
from tulu_cli.models import resolve
from tulu_cli.models.headers import (
    Weights,
    count_weights,
    directory_headers,
    hub_headers,
    read_headers,
)

REPO = "org/model"


def safetensors(**tensors: list[int]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in tensors.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def test_the_tensors_of_all_files_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(safetensors(x=[2, 3]))
    (tmp_path / "b.safetensors").write_bytes(safetensors(y=[4], z=[]))
    assert directory_headers(tmp_path) == [
        ("x", "BF16", (2, 3)),
        ("y", "BF16", (4,)),
        ("z", "BF16", ()),
    ]


def test_a_directory_without_weights_has_none(tmp_path: Path) -> None:
    assert directory_headers(tmp_path) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 40) + b"{}",
        struct.pack("<Q", 4) + b"nope",
        struct.pack("<Q", 4) + b"\xff\xfe{}",
        safetensors(x=[2, 3])[:-1],
        struct.pack("<Q", 25) + b'{"x": {"shape": [-1, 2]}}',
        struct.pack("<Q", 46) + b'{"x": {"shape": [], "data_offsets": [0, "a"]}}',
    ],
)
def test_a_file_that_is_cut_short_or_damaged(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        list(read_headers(path))


def test_the_hub_is_asked_for_the_header_alone(hub: FakeHub) -> None:
    hub.repositories[REPO] = {"model.safetensors": safetensors(x=[2, 3]), "config.json": b"{}"}
    assert hub_headers(resolve(REPO)) == [("x", "BF16", (2, 3))]


def test_a_repository_without_such_files_has_none(hub: FakeHub) -> None:
    hub.repositories[REPO] = {"config.json": b"{}"}
    assert hub_headers(resolve(REPO)) == []


def test_a_hub_that_is_out_of_reach(hub: FakeHub) -> None:
    hub.stop()
    with pytest.raises(ModelNotFound, match="cannot be reached"):
        hub_headers(resolve(REPO))


def test_a_copy_of_the_weights_is_not_counted(tmp_path: Path) -> None:
    copy = tmp_path / "consolidated.safetensors"
    copy.write_bytes(safetensors(z=[9]))
    assert count_weights(tmp_path).parameters == 9  # alone it is what there is
    (tmp_path / "model.safetensors").write_bytes(safetensors(x=[2, 3]))
    assert count_weights(tmp_path).parameters == 6
    assert directory_headers(tmp_path) == [("x", "BF16", (2, 3))]


def test_the_files_of_a_whole_index_alone_are_counted(tmp_path: Path) -> None:
    index = {"weight_map": {"x": "1.safetensors", "y": "2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "1.safetensors").write_bytes(safetensors(x=[4]))
    (tmp_path / "consolidated.safetensors").write_bytes(safetensors(z=[9]))
    assert count_weights(tmp_path).parameters == 4  # an index of which a part is missing
    (tmp_path / "model.safetensors").write_bytes(safetensors(x=[2, 3]))
    assert count_weights(tmp_path).parameters == 6
    (tmp_path / "2.safetensors").write_bytes(safetensors(y=[7]))
    assert count_weights(tmp_path) == Weights(
        11,
        (tmp_path / "1.safetensors").stat().st_size + (tmp_path / "2.safetensors").stat().st_size,
        ("BF16",),
    )
    assert directory_headers(tmp_path) == [("x", "BF16", (4,)), ("y", "BF16", (7,))]
