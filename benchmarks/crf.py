"""The CRF beside pytorch-crf: decoding, and a training step's likelihood with its gradients.

    python benchmarks/crf.py [--device cuda]

Both run the same inputs in one process, in turn. Times are medians. Results are printed and written to
`benchmarks/results/crf.json`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torchcrf
from common import report, synchronize
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
    report("crf", rows, device=str(device), batch=B, length=T, tags=K, repeats=arguments.repeats)


def measured(device: torch.device, repeats: int, batch: int = B, length: int = T) -> list[dict[str, Any]]:
    """A row for each task, with lengths alike and ragged ones."""
    torch.manual_seed(0)
    theirs = torchcrf.CRF(K, batch_first=True).to(device)
    ours = LinearChainCRF(K).to(device)
    ours.load_state_dict(theirs.state_dict())
    rows = []
    for lengths in ("all valid", "ragged"):
        emissions, tags, mask = inputs(lengths, device, batch, length)
        for what, calls in tasks(ours, theirs, emissions, tags, mask).items():
            mine, others = side_by_side(calls, device, repeats)
            rows.append(
                {
                    "what": what,
                    "lengths": lengths,
                    "mmkit ms": 1e3 * statistics.median(mine),
                    "pytorch-crf ms": 1e3 * statistics.median(others),
                    "times faster": statistics.median(b / a for a, b in zip(mine, others, strict=True)),
                }
            )
    return rows


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

    def decode() -> list[list[int]]:
        return ours.viterbi(emissions, mask)[0].tolist()

    def their_decode() -> list[list[int]]:
        return theirs.decode(emissions, mask)

    def step() -> Tensor:
        likelihood = ours.log_likelihood(learnt, tags, mask).sum()
        return torch.autograd.grad(likelihood, (learnt, *ours.parameters()))[0]

    def their_step() -> Tensor:
        return torch.autograd.grad(theirs(learnt, tags, mask), (learnt, *theirs.parameters()))[0]

    assert [[tag for tag in row if tag >= 0] for row in decode()] == their_decode()
    torch.testing.assert_close(step(), their_step(), rtol=1e-3, atol=1e-4)
    return {"decode": (decode, torch.no_grad()(their_decode)), "likelihood, gradient": (step, their_step)}


def side_by_side(
    calls: tuple[Callable[[], Any], Callable[[], Any]], device: torch.device, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each call, taken in turns so that a busy machine is busy for both."""
    seconds: tuple[list[float], list[float]] = ([], [])
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
