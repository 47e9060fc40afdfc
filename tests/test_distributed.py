"""Two processes that share a batch: the same gradients as one process with the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmkit.ops.distributed import Gather, gathered, same_key
from mmkit.ops.losses import clip_loss, n_pair_loss

D = 6


class Towers(nn.Module):
    """Two towers with in-batch negatives and CLIP losses over both, as a model would use them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.entity = nn.Linear(D, D), nn.Linear(D, D)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, mentions: Tensor, golds: Tensor, keys: Tensor) -> Tensor:
        query, entity, same = self.query(mentions), self.entity(golds), same_key(keys)
        matching = n_pair_loss(query, entity, gathered(entity), excluded=same)
        fine = clip_loss(query, entity, self.scale, same=same, each=1)
        return matching + fine + clip_loss(entity, mentions, self.scale)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Seven examples, so that two processes get four and three; two have the same gold entity."""
    draw = torch.Generator().manual_seed(1)
    golds = torch.randn(7, D, generator=draw)
    golds[5] = golds[2]
    return torch.randn(7, D, generator=draw), golds, torch.tensor([0, 1, 2, 3, 4, 2, 6])


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}


CHILD = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, sys.argv[1])
from test_distributed import SIZES, Towers, batch, gradients
from mmkit.ops.distributed import Gather, gathered, weightless
from mmkit.training.batches import share


def main(sizes, folder, known):
    rank = dist.get_rank()
    found = {}
    for size in sizes:
        part, = share(range(size), 1, rank, 2)
        model = DistributedDataParallel(Towers())
        with weightless(part.weight == 0, part.dealt if size in known else None):
            loss = model(*(x[part.indices] for x in batch()))
            rows = gathered(torch.tensor(part.indices))
            offset = Gather.of(len(part.indices), torch.device("cpu")).offset
            told = Gather.of(2 * len(part.indices), torch.device("cpu"), each=2)
            assert told == Gather.of(2 * len(part.indices), torch.device("cpu"))
            if size in known:
                exchange, dist.all_gather = dist.all_gather, None  # what is known is not exchanged
                assert Gather.of(2 * len(part.indices), torch.device("cpu"), each=2) == told
                dist.all_gather = exchange
                try:
                    Gather.of(9, torch.device("cpu"), each=2)
                except ValueError as error:
                    assert "9 rows" in str(error)
                else:
                    raise AssertionError("another number of rows was taken")
        (loss * part.weight).backward()
        mean = loss.detach() * part.weight / 2
        dist.all_reduce(mean)
        found[str(size)] = {"gradients": gradients(model), "loss": mean, "rows": rows, "offset": offset}
    torch.save(found, f"{folder}/{rank}.pt")

dist.init_process_group("gloo")
known = {int(size) for size in sys.argv[3].split()}
main(SIZES, sys.argv[2], known)  # the models end with it: one that outlives the group may abort the process
dist.barrier()  # and a process that ends while the other still talks to it makes that one abort
dist.destroy_process_group()
"""

SIZES = (7, 1)
"""Of the batches: uneven shares, and one example for two processes, of which one gets a stand-in."""


@pytest.mark.parametrize("known", ["", "7 1"])
def test_two_processes_give_the_gradient_of_one(tmp_path, known):
    """Also where they know beforehand how many examples each of them has."""
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    here = str(Path(__file__).parent)
    subprocess.run([*torchrun, str(script), here, str(tmp_path), known], env=environment, check=True)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]

    for size in SIZES:
        whole = Towers()
        loss = whole(*(x[:size] for x in batch()))
        loss.backward()
        expected = gradients(whole)
        for found in (rank[str(size)] for rank in ranks):
            torch.testing.assert_close(found["loss"], loss.detach())
            for name, gradient in found["gradients"].items():
                torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6)
    assert [rank["7"]["rows"].tolist() for rank in ranks] == [[0, 2, 4, 6, 1, 3, 5]] * 2
    assert [rank["7"]["offset"] for rank in ranks] == [0, 4]
    assert [rank["1"]["rows"].tolist() for rank in ranks] == [
        [0],
        [0, 0],
    ]  # the stand-in shows only to itself


def test_alone_gathering_is_the_identity():
    x = torch.randn(3, 2)
    assert gathered(x) is x
    assert Gather.of(3, x.device).offset == 0
    assert same_key(torch.tensor([1, 2, 1])).tolist() == [
        [True, False, True],
        [False, True, False],
        [True, False, True],
    ]
