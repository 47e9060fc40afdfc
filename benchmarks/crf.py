"""The CRF beside pytorch-crf: decoding, and a training step's likelihood with its gradients.

    python benchmarks/crf.py [--device cuda]

Ours has two ways: step by step, which it takes on a CPU, and in a tree (`mmkit/decoders/chain_scan.py`), which it takes
on a GPU. All run the same inputs in one process, in turn. Times are medians. How many operations both ways take is
counted on the CPU: on a GPU, where the work is small, time follows their number. Results are printed and written to
`benchmarks/results/crf.json`.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torchcrf
from common import operations, report, synchronize
from torch import Tensor

from mmkit.decoders.crf import LinearChainCRF

B, T, K = 32, 80, 13  # subwords and tags of Twitter-2015 as HVPNeT trains on it


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--device", default="cpu")
    options.add_argument("--repeats", type=int, default=60)
    arguments = options.parse_args()
    device = torch.device(arguments.device)
    rows = measured(device, arguments.repeats)
    counts = counted()
    for row in counts:
        print(*(f"{name}: {value}" for name, value in row.items()), sep="  ")
    report(
        "crf",
        rows,
        device=str(device),
        batch=B,
        length=T,
        tags=K,
        repeats=arguments.repeats,
        operations=counts,
    )


def measured(device: torch.device, repeats: int, batch: int = B, length: int = T) -> list[dict[str, Any]]:
    """A row for each task, with lengths alike and ragged ones: both of our ways and theirs."""
    torch.manual_seed(0)
    theirs = torchcrf.CRF(K, batch_first=True).to(device)
    ours = LinearChainCRF(K).to(device)
    ours.load_state_dict(theirs.state_dict())
    rows = []
    for lengths in ("all valid", "ragged"):
        emissions, tags, mask = inputs(lengths, device, batch, length)
        ways = [tasks(in_way(ours, tree), theirs, emissions, tags, mask) for tree in (False, True)]
        for what, (stepwise, their) in ways[0].items():
            steps, tree, others = side_by_side((stepwise, ways[1][what][0], their), device, repeats)
            mine = steps if device.type == "cpu" else tree  # the way that a CRF picks there
            rows.append(
                {
                    "what": what,
                    "lengths": lengths,
                    "steps ms": 1e3 * statistics.median(steps),
                    "tree ms": 1e3 * statistics.median(tree),
                    "pytorch-crf ms": 1e3 * statistics.median(others),
                    "times faster": statistics.median(b / a for a, b in zip(mine, others, strict=True)),
                }
            )
    return rows


def counted() -> list[dict[str, Any]]:
    """Operations, without views, of each task in both ways. logsumexp counts as one; a GPU launches several for it."""
    rows = []
    for length in (32, T):
        emissions, tags, mask = inputs("ragged", torch.device("cpu"), B, length)
        learnt = emissions.requires_grad_()
        for what in ("decode", "likelihood, gradient", "log-marginals, gradient"):
            row: dict[str, Any] = {"what": what, "length": length}
            for way, tree in (("steps", False), ("tree", True)):
                crf = in_way(LinearChainCRF(K), tree)
                row[way] = operations(partial(CALLS[what], crf, learnt, tags, mask))
            rows.append(row)
    return rows


def decode(crf: LinearChainCRF, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
    return crf.viterbi(emissions, mask)[0]


def step(crf: LinearChainCRF, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
    return torch.autograd.grad(
        crf.log_likelihood(emissions, tags, mask).sum(), (emissions, *crf.parameters())
    )[0]


def marginals(crf: LinearChainCRF, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
    return torch.autograd.grad(
        crf.log_marginals(emissions, mask).square().sum(), (emissions, *crf.parameters())
    )[0]


CALLS = {"decode": decode, "likelihood, gradient": step, "log-marginals, gradient": marginals}
"""What is counted; the first two are also timed, as pytorch-crf has no marginals."""


def in_way(crf: LinearChainCRF, tree: bool) -> LinearChainCRF:
    """The CRF with the same parameters, computing step by step or in a tree on any device."""
    crf = copy.deepcopy(crf)
    crf._scan = tree
    return crf


def inputs(lengths: str, device: torch.device, batch: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random emissions, tags and mask; ragged lengths are uniform from 1 to `length`."""
    valid = torch.full((batch, 1), length)
    if lengths == "ragged":
        valid = torch.randint(1, length + 1, (batch, 1))
    mask = torch.arange(length) < valid
    emissions, tags = torch.randn(batch, length, K), torch.randint(K, (batch, length))
    return emissions.to(device), tags.to(device), mask.to(device)


def tasks(
    ours: LinearChainCRF, theirs: torchcrf.CRF, emissions: Tensor, tags: Tensor, mask: Tensor
) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """What is timed: ours and theirs, which are first seen to agree."""
    learnt = emissions.clone().requires_grad_()

    def our_decode() -> list[list[int]]:
        return decode(ours, emissions, tags, mask).tolist()

    def their_decode() -> list[list[int]]:
        return theirs.decode(emissions, mask)

    def our_step() -> Tensor:
        return step(ours, learnt, tags, mask)

    def their_step() -> Tensor:
        return torch.autograd.grad(theirs(learnt, tags, mask), (learnt, *theirs.parameters()))[0]

    assert [[tag for tag in row if tag >= 0] for row in our_decode()] == their_decode()
    torch.testing.assert_close(our_step(), their_step(), rtol=1e-3, atol=1e-4)
    return {
        "decode": (our_decode, torch.no_grad()(their_decode)),
        "likelihood, gradient": (our_step, their_step),
    }


def side_by_side(calls: Sequence[Callable[[], Any]], device: torch.device, repeats: int) -> list[list[float]]:
    """Seconds of each call, taken in turns so that a busy machine is busy for all."""
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 3):
        for call, times in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            synchronize(device)
            if turn >= 3:  # the first turns warm up
                times.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    main()
