"""Checkpoints: complete or absent, strict on loading."""

from __future__ import annotations

import errno
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmkit.runs import weights
from mmkit.runs.weights import load_tensors, load_weights, read_metadata, save_tensors
from mmkit.training import checkpoint
from mmkit.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from raising import raises


def trained(seed: int = 0, steps: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    network[0].requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], fused=True)
    for _ in range(steps):
        network(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return network, optimizer


def one_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    network(torch.ones(2, 4) * torch.tensor([[1.0], [2.0]])).sum().backward()
    optimizer.step()
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_going_on_from_a_checkpoint_is_bit_exact(tmp_path):
    network, optimizer = trained()
    save_checkpoint(tmp_path, network, optimizer, Progress(epoch=2, done=1, step=3, best_score=0.5))
    other, fresh = trained(seed=0, steps=0)
    progress = load_checkpoint(tmp_path, other, fresh)
    assert (progress.epoch, progress.done, progress.step, progress.best_score) == (2, 1, 3, 0.5)
    assert torch.equal(one_step(network, optimizer), one_step(other, fresh))


def test_only_the_newest_is_kept_and_leftovers_of_a_kill_are_removed(tmp_path):
    network, optimizer = trained()
    (tmp_path / ".writing-left").mkdir()
    for step in (3, 4):
        save_checkpoint(tmp_path, network, optimizer, Progress(step=step))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000004"]


def test_a_checkpoint_is_never_removed_before_the_one_that_replaces_it(tmp_path, monkeypatch):
    network, optimizer = trained()
    for stale in range(3):  # after the same update
        save_checkpoint(tmp_path, network, optimizer, Progress(step=4, stale=stale))
        assert [p.name for p in tmp_path.iterdir()] == [f"step-000000004{f'.{stale:03d}' if stale else ''}"]
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *_, **__: None)  # killed before it is removed
    save_checkpoint(tmp_path, network, optimizer, Progress(step=4, stale=3))
    assert len(list(tmp_path.iterdir())) == 2
    assert load_checkpoint(tmp_path, network, optimizer).stale == 3


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    network, optimizer = trained()
    save_checkpoint(tmp_path, network, optimizer, Progress(step=3))

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with raises("file.unwritable", match="disk is full"):
        save_checkpoint(tmp_path, network, optimizer, Progress(step=4))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000003"]


def test_without_a_checkpoint_training_begins(tmp_path):
    network, optimizer = trained()
    before = [p.clone() for p in network.parameters()]
    assert load_checkpoint(tmp_path / "none", network, optimizer) == Progress()
    assert all(map(torch.equal, before, network.parameters()))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_changed_byte_is_found(tmp_path, name):
    network, optimizer = trained()
    save_checkpoint(tmp_path, network, optimizer, Progress(step=3))
    data = bytearray((tmp_path / "step-000000003" / name).read_bytes())
    data[-2] ^= 1
    (tmp_path / "step-000000003" / name).write_bytes(data)
    with raises("run.damaged", match="not what was written") as caught:
        load_checkpoint(tmp_path, network, optimizer)
    assert caught.value.where.endswith(name) and "begins again" in caught.value.hint


def test_a_checkpoint_of_before_resumes(tmp_path):
    network, optimizer = trained()
    save_checkpoint(tmp_path, network, optimizer, Progress(step=3, done=3))
    path = tmp_path / "step-000000003" / "progress.json"
    content = json.loads(path.read_text())
    for added in ("unlogged", "checks"):
        del content[added]
    path.write_text(json.dumps(content))
    assert load_checkpoint(tmp_path, network, optimizer) == Progress(step=3, done=3)


DAMAGED = [
    "",
    "[]",
    '{"step": 3, "unknown": 1}',
    '{"step": "3"}',
    '{"step": -1}',
    '{"epoch": 0}',
    "[" * 100_000,
]
DAMAGED += [
    f'{{"step": {10**30}}}',
    '{"seconds": NaN}',
    '{"unlogged": {"sums": 3}}',
    '{"unlogged": {"updates": 1}}',
]


@pytest.mark.parametrize("content", DAMAGED, ids=lambda text: text[:20])
def test_damaged_progress_is_an_error(tmp_path, content):
    network, optimizer = trained()
    save_checkpoint(tmp_path, network, optimizer, Progress(step=3))
    (tmp_path / "step-000000003" / "progress.json").write_text(content)
    with raises("run.damaged"):
        load_checkpoint(tmp_path, network, optimizer)


def test_truncated_checkpoints_are_errors(tmp_path):
    network, optimizer = trained()
    save_checkpoint(tmp_path, network, optimizer, Progress(step=3))
    weights = tmp_path / "step-000000003" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with raises("run.damaged"):
        load_checkpoint(tmp_path, network, optimizer)
    weights.write_bytes(b"")
    with raises("run.damaged"):
        load_tensors(weights)
    with raises("run.missing-file"):
        load_tensors(tmp_path / "none.safetensors")


def test_a_tensor_of_several_names_is_written_once(tmp_path):
    weight, other = torch.randn(1000), torch.randn(3)
    named = {
        "a": weight,
        "b": weight,
        "head": weight[:10],
        "c": other,
        "empty": weight[:0],
        "d": weight.view(-1),
    }
    save_tensors(tmp_path / "once", named, {"step": "3"})
    assert (tmp_path / "once").stat().st_size < 4 * len(weight) + 1000
    loaded = load_tensors(tmp_path / "once")
    assert loaded.keys() == named.keys() and all(torch.equal(loaded[k], v) for k, v in named.items())
    assert loaded["a"].data_ptr() == loaded["b"].data_ptr() == loaded["d"].data_ptr()
    assert read_metadata(tmp_path / "once")["step"] == "3"


def test_nothing_is_left_beside_weights_whenever_writing_them_ends(tmp_path, monkeypatch):
    def half(tensors, path, metadata=None):
        (path.parent / ".tmpAbCdEf").write_bytes(b"half")  # as safetensors does
        raise KeyboardInterrupt

    killed = tmp_path / ".weights.abcd1234.tmp"
    killed.mkdir()
    (killed / ".tmpAbCdEf").write_bytes(b"half")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(weights, "save_file", half)
        save_tensors(tmp_path / "weights", {"a": torch.ones(2)})
    assert not list(tmp_path.iterdir())
    save_tensors(tmp_path / "weights", {"a": torch.ones(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_files_without_shared_tensors_are_as_ever(tmp_path):
    save_tensors(tmp_path / "plain", {"a": torch.ones(2)})
    assert read_metadata(tmp_path / "plain") == {}
    save_file({"a": torch.ones(2)}, tmp_path / "foreign", metadata={"format": "pt"})
    assert load_tensors(tmp_path / "foreign")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("same", ["{", "[1]", "3", "null", '{"b": "nowhere"}', '{"b": {}}', '"a"'])
def test_damaged_names_are_an_error(tmp_path, same):
    save_file({"a": torch.ones(2)}, tmp_path / "damaged", metadata={weights.SAME: same})
    with raises("run.damaged"):
        load_tensors(tmp_path / "damaged")


def test_weights_that_do_not_fit_are_named(tmp_path):
    network, _ = trained()
    state = dict(network.state_dict())
    state["2.weight"] = torch.zeros(3, 3)
    state["extra"] = torch.zeros(1)
    del state["2.bias"]
    with raises("run.weights-do-not-fit") as caught:
        load_weights(network, state, tmp_path)
    for name in ("missing 2.bias", "unknown extra", "2.weight: (3, 3) in the file, (1, 4) in the model"):
        assert name in str(caught.value)
