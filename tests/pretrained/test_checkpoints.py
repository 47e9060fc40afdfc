"""Files of weights: what they are, whether they are whole, and that none runs code, hangs or fills the memory."""

from __future__ import annotations

import io
import json
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mmkit.pretrained.bad_files import BadFile
from mmkit.pretrained.checkpoints import MAGIC_NUMBER, check_weights, read_weights, tensor_shapes
from mmkit.pretrained.pickles import scan

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 440449768\n"


def legacy(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def zipped(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def refused(path: Path, content: bytes) -> BadFile:
    """What is said of a file with this content, which has to be said at once."""
    path.write_bytes(content)
    start = time.monotonic()
    with pytest.raises(BadFile) as caught:
        read_weights(path)
    assert time.monotonic() - start < 5
    assert path.name in str(caught.value) and caught.value.hint
    assert "weights_only" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("write", [legacy, zipped])
def test_what_torch_saved_is_read(tmp_path: Path, write: Any) -> None:
    tied = torch.ones(3, 4)
    state = {
        **STATE,
        "tied": tied,
        "also": tied,
        "part": tied[1:, ::2],
        "p": torch.nn.Parameter(torch.ones(2)),
    }
    content = {"state_dict": state, "epoch": 3, "lr": 0.1, "names": ["x"], "args": (1, None, True), 7: {1, 2}}
    path = tmp_path / "m.pth"
    path.write_bytes(write(content))
    found = read_weights(path)
    assert found["epoch"] == 3 and found[7] == {1, 2}
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in state.items())


def test_an_optimizers_state_is_read(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "m.pth")
    assert torch.equal(read_weights(tmp_path / "m.pth")["model"]["weight"], model.weight)


def test_shapes_are_in_the_header(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    assert tensor_shapes(tmp_path / "model.safetensors") == {"a.weight": (2, 3), "a.bias": (2,)}


FOREIGN = {
    "a Git LFS pointer": LFS,
    "a web page": b"\n<!DOCTYPE html>\n<html><head><title>Login</title>",
    "an XML document": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JSON, not weights": b'{"error": "Repository not found"}',
    "plain text": b"Entry not found",
    "a GGUF file": b"GGUF\x03\0\0\0" + bytes(64),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "a NumPy array": b"\x93NUMPY\x01\0" + bytes(64),
    "packed with gzip": b"\x1f\x8b\x08\0" + bytes(64),
    "begins with zeros only": bytes(4096),
    "is empty": b"",
}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "resnet50.pth"])
@pytest.mark.parametrize("said", FOREIGN)
def test_another_kind_of_file_is_called_by_its_name(tmp_path: Path, name: str, said: str) -> None:
    assert said in str(refused(tmp_path / name, FOREIGN[said]))


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(name, bytes(50))
    return file.getvalue()


def arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


def test_archives_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    assert "NumPy arrays (.npz)" in str(refused(path, arrays()))
    assert "is a zip archive" in str(refused(path, archive("model.safetensors")))
    assert "TorchScript" in str(refused(path, archive("m/data.pkl", "m/code/m.py", "m/constants.pkl")))
    assert "is a pickle, but not one of torch.save" in str(refused(path, pickle.dumps({"a": 1})))


def test_a_file_under_the_other_formats_name_says_so(tmp_path: Path) -> None:
    said = refused(tmp_path / "model.safetensors", zipped(STATE))
    assert "torch.save under a name of safetensors" in said.what and "pytorch_model.bin" in said.hint
    save_file(STATE, tmp_path / "x.safetensors")
    said = refused(tmp_path / "pytorch_model.bin", (tmp_path / "x.safetensors").read_bytes())
    assert "is a safetensors file under another name" in said.what


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_cut_file_is_damaged(tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "m.bin")
    state = {f"layer.{i}": torch.randn(20, 20) for i in range(5)}
    if form == "safetensors":
        save_file(state, path)
        whole = path.read_bytes()
    else:
        whole = (zipped if form == "zip" else legacy)(state)
    said = refused(path, whole[: int(len(whole) * share)])
    assert said.kind == "damaged"


def test_a_link_to_nowhere_and_a_folder_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs")
    with pytest.raises(BadFile, match=r"is a link to .*blobs, which does not exist"):
        check_weights(tmp_path / "model.safetensors")
    (tmp_path / "m.pth").mkdir()
    with pytest.raises(BadFile, match="is not a file"):
        check_weights(tmp_path / "m.pth")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("write", [legacy, zipped])
def test_code_is_named_and_not_run(tmp_path: Path, write: Any) -> None:
    said = refused(tmp_path / "m.pth", write({**STATE, "x": Hostile(tmp_path / "pwned")}))
    assert said.kind == "code" and "would run code when it is read" in said.what
    assert not (tmp_path / "pwned").exists()


# Bombs


def repacked(content: bytes, change: Any = lambda name, data: data) -> bytes:
    """A checkpoint with its records deflated, and changed."""
    source, file = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        for info in source.infolist():
            with made.open(info.filename, "w") as record:
                data = change(info.filename, source.read(info.filename))
                for part in [data] if isinstance(data, bytes) else data:
                    record.write(part)
    return file.getvalue()


def test_deflated_weights_of_a_sensible_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_bytes(repacked(zipped(STATE)))
    assert torch.equal(read_weights(tmp_path / "m.pth")["a.weight"], STATE["a.weight"])


def test_weights_that_unpack_to_far_more_are_refused(tmp_path: Path) -> None:
    """300 MB of zeros in 1.3 MB: the size that the archive states is enough to refuse it."""

    def swell(name: str, data: bytes) -> Any:
        if name.endswith("data.pkl"):
            return data.replace(b"M\xe8\x03", b"J" + (75_000_000).to_bytes(4, "little"))
        return (bytes(1 << 20) for _ in range(300)) if name.endswith("/data/0") else data

    said = refused(tmp_path / "m.pth", repacked(zipped({"a": torch.zeros(1000)}), swell))
    assert said.kind == "bomb" and "would unpack to 314,5" in said.what


@pytest.mark.parametrize("write", [legacy, zipped])
def test_a_tensor_spread_out_without_numbers_of_its_own_is_refused(tmp_path: Path, write: Any) -> None:
    said = refused(tmp_path / "m.pth", write({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}))
    assert said.kind == "bomb"


@pytest.mark.parametrize("write", [legacy, zipped])
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path, write: Any) -> None:
    """torch itself would make room for it."""

    def longer(name: str, data: bytes) -> bytes:
        return data.replace(b"K\x00M\xe8\x03\x85", b"K\x00J\xff\xff\xff\x7f\x85")

    content = write({"a": torch.zeros(1000)})
    content = repacked(content, longer) if write is zipped else longer("", content)
    assert "reaches beyond its storage" in str(refused(tmp_path / "m.pth", content))


def doubled(levels: int, tail: bytes) -> bytes:
    """A pickle of a tuple that holds itself twice, level by level: to write it out takes for ever."""
    return b"\x80\x02K\x01" + b"q\x00h\x00\x86" * levels + tail


def pickles(*parts: bytes) -> bytes:
    magic, protocol = pickle.dumps(MAGIC_NUMBER, protocol=2), pickle.dumps(1001, protocol=2)
    return b"".join(
        [magic, protocol, pickle.dumps({}, protocol=2)][: 3 if len(parts) == 1 else 1]
    ) + b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        pickles(doubled(20_000, b"N\x85R.")),  # called as a function
        pickles(doubled(20_000, b"Nb.")),  # built from nothing
        doubled(20_000, b"."),  # in place of the magic number
        pickles(doubled(20_000, b"."), b""),  # in place of the protocol's
        pickles(b"\x80\x02}" + doubled(20_000, b"")[2:] + b"K\x01s."),  # as a key
        pickles(doubled(20_000, b"Q.")),  # as what stands for a storage
    ],
    ids=["called", "built", "magic", "protocol", "key", "storage"],
)
def test_a_pickle_that_takes_for_ever_to_write_out_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    assert len(content) < 150_000
    assert refused(tmp_path / "m.pth", content).kind in ("damaged", "foreign")


def test_a_legacy_file_that_only_states_its_size_is_refused(tmp_path: Path) -> None:
    content = legacy({"a": torch.zeros(1000)})
    swollen = content.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f")
    assert swollen != content
    assert "is cut off" in str(refused(tmp_path / "m.pth", swollen))


@pytest.mark.parametrize("length", [1 << 63, 99_999_999])
def test_a_header_of_safetensors_that_states_its_size_is_refused(tmp_path: Path, length: int) -> None:
    refused(tmp_path / "model.safetensors", struct.pack("<Q", length) + b"{" + bytes(100))


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8000]}},
        {"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}},
        {"a": 1},
        {"a": {"data_offsets": []}},
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    refused(tmp_path / "model.safetensors", struct.pack("<Q", len(text)) + text + bytes(8))


CONTENTS = [legacy(STATE), zipped(STATE)]


@settings(max_examples=80, deadline=None)
@given(
    content=st.sampled_from(CONTENTS),
    at=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_whatever_is_damaged_there_is_one_message(
    tmp_path_factory: Any, content: bytes, at: list[Any]
) -> None:
    changed = bytearray(content)
    for where, byte in at:
        changed[int(where * len(content))] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(bytes(changed))
    try:
        read_weights(path)
    except BadFile as error:
        assert len(str(error)) < 400


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.bin"
    path.write_bytes(b"\x80\x02" + content)
    with pytest.raises(BadFile):
        read_weights(path)


def test_a_scan_counts_what_tensors_take(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "m.pth")
    with zipfile.ZipFile(tmp_path / "m.pth") as made, made.open("m/data.pkl") as file:
        content = scan(file)
    assert content.unfolded == 6 * 4 + 2 * 2
    assert sorted(s.nbytes for s in content.storages.values()) == [4, 24]
