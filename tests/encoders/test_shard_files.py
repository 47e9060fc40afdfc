"""Shards of features: whatever was altered in a file, nothing else than what was written is read from it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from mmkit.batch import Features
from mmkit.encoders.shards import Shards, read_shard, shard_bytes

KEYS = [f"{i:032x}" for i in range(4)]
FEATURES = {
    "pooled": torch.arange(32.0).view(4, 8),
    "lengths": torch.tensor([2, 0, 1, 3]),
    "rows_of": torch.arange(12, dtype=torch.float16).view(6, 2),
}
TARGETS = {  # each leaves the contents as they are
    "another type": (b'"F32"', b'"I32"'),
    "another type of the same size": (b'"F16"', b'"I16"'),
    "another shape": (b"[4,8]", b"[8,4]"),
    "the same rows, and another width": (b"[6,2]", b"[4,3]"),
    "another key": (b"0001", b"0009"),
    "two keys changed over": (
        b'0001\\", \\"00000000000000000000000000000002',
        b'0002\\", \\"00000000000000000000000000000001',
    ),
    "another name": (b'"pooled"', b'"pooler"'),
}


def earlier(keys: list[str], features: Features) -> bytes:
    """A shard as versions before wrote it, without a checksum of its header."""
    checks = {name: zlib.crc32(t.reshape(-1).view(torch.uint8).numpy().data) for name, t in features.items()}
    return save(features, {"format": "1", "keys": json.dumps(keys), "checks": json.dumps(checks)})


@pytest.mark.parametrize("what", TARGETS)
def test_a_header_that_was_altered_is_noticed(what: str, tmp_path: Path) -> None:
    old, new = TARGETS[what]
    whole = shard_bytes(KEYS, FEATURES)
    altered = whole.replace(old, new, 1)
    assert altered != whole and len(altered) == len(whole)
    (tmp_path / "a.safetensors").write_bytes(altered)
    shards = Shards(tmp_path)
    assert shards.damaged == [tmp_path / "a.safetensors"] and not shards.where and not shards.shards


def test_no_byte_can_be_altered_unseen(tmp_path: Path) -> None:
    whole, path = shard_bytes(KEYS, FEATURES, "these"), tmp_path / "a.safetensors"
    noticed = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x01]) + whole[at + 1 :])
        try:
            shard = read_shard(path, "these")
        except (OSError, ValueError):
            noticed += 1
            continue
        assert shard.keys == KEYS
        assert all(torch.equal(shard.tensors[name], tensor) for name, tensor in FEATURES.items())
        assert all(shard.tensors[name].dtype == tensor.dtype for name, tensor in FEATURES.items())
    assert noticed > 0.95 * len(whole)


def test_shards_of_before_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(earlier(KEYS, FEATURES))
    shards = Shards(tmp_path)
    assert not shards.damaged and list(shards.where) == KEYS
    assert torch.equal(shards.shards[0].tensors["pooled"], FEATURES["pooled"])
    assert shards.shards[0].starts.tolist() == [0, 2, 2, 3]
    assert read_shard(tmp_path / "a.safetensors", "anything").keys == KEYS


@pytest.mark.parametrize(
    "features",
    [
        {"pooled": torch.zeros(3, 8)},
        {"pooled": torch.tensor(1.0)},
        {"lengths": torch.tensor([1.0, 1.0, 1.0, 1.0]), "rows_of": torch.zeros(4, 2)},
        {"lengths": torch.tensor([3, -1, 1, 1]), "rows_of": torch.zeros(4, 2)},
        {"lengths": torch.tensor([1, 1, 1, 1, 1]), "rows_of": torch.zeros(5, 2)},
        {"lengths": torch.tensor([1, 1, 1, 1]), "rows_of": torch.zeros(5, 2)},
    ],
)
def test_a_shard_whose_rows_do_not_fit_its_keys_is_left_out(features: Features, tmp_path: Path) -> None:
    """Of earlier versions, too."""
    (tmp_path / "a.safetensors").write_bytes(earlier(KEYS, features))
    assert Shards(tmp_path).damaged == [tmp_path / "a.safetensors"]


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "2", "keys": "[]", "checks": "{}"},
        {"format": "1", "keys": "[" * 100_000, "checks": "{}"},
        {"format": "1", "keys": "3", "checks": "{}"},
        {"format": "1", "keys": "[[1], {}]", "checks": "{}"},
        {"format": "1", "keys": "[]"},
    ],
)
def test_what_is_no_shard_is_left_out(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(save({}, metadata))
    assert Shards(tmp_path).damaged == [tmp_path / "a.safetensors"]


def test_a_shard_says_what_it_is_about(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(shard_bytes([], FEATURES, "one"))
    assert read_shard(tmp_path / "a.safetensors", "one").keys == []
    with pytest.raises(ValueError, match="about something else"):
        read_shard(tmp_path / "a.safetensors", "another")
