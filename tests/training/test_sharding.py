"""Which blocks of an encoder are spread over processes, and what is refused.

Trainings of two processes are in test_sharded_processes.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, T5Config, T5EncoderModel

from mmkit.config.settings import TrainingSettings
from mmkit.ops.sharded import gathered_whole, has_shards, is_sharded, like, part_of
from mmkit.training.sharding import blocks_of, check_sharding
from mmkit.training.train import train
from raising import raises

CPU = torch.device("cpu")
TINY = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}


def names(network: nn.Module) -> list[str]:
    """Where the blocks of a network are in it."""
    by_module = {module: name for name, module in network.named_modules()}
    return [by_module[block] for block in blocks_of(network)]


def test_blocks_of_a_transformers_model_are_those_that_it_says_must_not_be_split():
    bert = BertModel(BertConfig(vocab_size=20, **TINY), add_pooling_layer=False)
    assert names(bert) == ["embeddings", *(f"encoder.layer.{i}" for i in range(3))]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (GPT2Model(GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2)), ["wte", "h.0", "h.1"]),
        (
            T5EncoderModel(
                T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
            ).encoder,
            ["embed_tokens", "block.0", "block.1"],
        ),
    ],
    ids=["gpt2", "t5"],
)
def test_the_table_of_tokens_is_a_block_where_no_block_has_it(network, expected):
    assert names(network) == expected


class Layer(nn.Module):
    """A block of a network that no library knows."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 4)


def test_blocks_of_another_network_are_the_members_of_a_list_of_one_class():
    network = nn.ModuleDict(
        {
            "trunk": nn.ModuleList([nn.Sequential(*(Layer() for _ in range(2))), Layer()]),
            "heads": nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]),
            "stages": nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)),
            "one": nn.ModuleList([Layer()]),
        }
    )
    assert names(network) == ["trunk.0.0", "trunk.0.1"]


def test_no_block_is_within_another():
    outer = nn.Sequential(nn.Sequential(Layer(), Layer()), nn.Sequential(Layer(), Layer()))
    assert names(outer) == ["0", "1"]


def test_one_process_is_told_how_to_start_several(recipe, tmp_path):
    with raises("device.one-process", "there is only one") as told:
        train(recipe(shard="encoders"), tmp_path / "run", device="cpu")
    assert "torchrun --nproc-per-node 2 -m mmkit train" in told.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("device", "backend", "compiled", "code"),
    [
        ("cpu", "mpi", False, "device.no-sharding"),
        ("mps", "gloo", False, "device.no-sharding"),
        ("cpu", "gloo", True, "recipe.shard-compiled"),
    ],
)
def test_what_cannot_be_spread_is_refused(monkeypatch, device, backend, compiled, code):
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: backend)
    with raises(code) as told:
        check_sharding(TrainingSettings(shard="encoders", compile=compiled), torch.device(device), 2)
    assert 'training.shard = "no"' in told.value.hint


def test_gpus_and_cpus_may_be_spread_over(monkeypatch):
    for device, backend in (("cpu", "gloo"), ("cuda", "nccl"), ("cuda", "cpu:gloo,cuda:nccl")):
        monkeypatch.setattr(torch.distributed, "get_backend", lambda backend=backend: backend)
        check_sharding(TrainingSettings(shard="encoders"), torch.device(device), 2)
    check_sharding(TrainingSettings(), CPU, 1)


def test_tensors_that_are_not_spread_are_their_own_part_and_whole():
    x, y = torch.randn(3, 2), torch.zeros(3, 2)
    assert not is_sharded(x) and not has_shards(Layer())
    assert part_of(x) is x and like(x, y) is x
    assert gathered_whole({"x": x}) == {"x": x}
    assert gathered_whole({"x": x}, keep=False) == {}
