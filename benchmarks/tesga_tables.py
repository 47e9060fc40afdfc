"""TESGA's two tables, a training step: rows scored by broadcasting, beside concatenated states of every pair.

    python benchmarks/tesga_tables.py [--device cuda] [--length 128] [--batch 16]

Each form runs in a process of its own; its own peak memory is the process's peak less what it held before the first
step. Results are printed and written to `benchmarks/results/tesga_tables.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from common import GPU_MEMORY, report, synchronize
from torch import Tensor

from mmkit.batch import States
from mmkit_tesga.head import TableHead
from mmkit_tesga.tables import TableDecoder

HIDDEN, TYPES, RELATIONS = 300, 4, 21


class DirectHead(TableHead):
    """The table as the paper writes it: one layer over `[fused_i; fused_j; global]` of all pairs at once."""

    def blocks(self, states, mask, upper):
        fused = states[..., self.hidden :]
        batch, length, _ = states.shape
        shape = (batch, length, length, self.hidden)
        whole = self.overall(states, mask)[:, None, None].expand(shape)
        pairs = torch.cat([fused.unsqueeze(2).expand(shape), fused.unsqueeze(1).expand(shape), whole], dim=3)
        yield slice(0, length), slice(0, length), self.cells(self.pair(pairs))


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--device", default="cpu")
    options.add_argument("--length", type=int, default=128)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument(
        "--form", choices=("blocks", "direct"), help="run this one alone and print its figures"
    )
    arguments = options.parse_args()
    if arguments.form:
        device = torch.device(arguments.device)
        print(
            json.dumps(measured(arguments.form, device, arguments.batch, arguments.length, arguments.repeats))
        )
        return
    found = {form: in_a_process(form) for form in ("direct", "blocks")}
    assert abs(found["direct"]["loss"] - found["blocks"]["loss"]) < 1e-3 * found["direct"]["loss"]
    rows = [{"form": form, **figures} for form, figures in found.items()]
    ratios = {
        name: found["direct"][name] / found["blocks"][name] for name in ("seconds a step", "own peak GiB")
    }
    for row in rows:
        row |= {f"direct / this, {name}": found["direct"][name] / row[name] for name in ratios}
    facts = {"device": arguments.device, "batch": arguments.batch, "length": arguments.length}
    report("tesga_tables", rows, **facts, hidden=HIDDEN, labels=[TYPES, RELATIONS], ratios=ratios)


def in_a_process(form: str) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__)), *sys.argv[1:], "--form", form]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def measured(form: str, device: torch.device, batch: int, length: int, repeats: int) -> dict[str, float]:
    """Seconds, peak memory and loss of one form's training step."""
    torch.manual_seed(0)
    decoder = TableDecoder(dropout=0.0)
    labels = {"types": list(map(str, range(TYPES))), "relations": list(map(str, range(RELATIONS)))}
    decoder.build({"entities": 2 * HIDDEN, "relations": 2 * HIDDEN}, labels)
    if form == "direct":
        for head in decoder.heads.values():
            head.__class__ = DirectHead
    decoder.to(device).train()
    lengths = torch.linspace(length // 4, length, batch).round().long().unsqueeze(1)
    mask = (torch.arange(length) < lengths).to(device)
    cells = torch.stack(
        [torch.arange(batch), torch.full((batch,), 1), torch.full((batch,), 3), torch.zeros(batch)]
    )
    targets = {task: cells.T.long().to(device) for task in ("entities", "relations")}

    def step() -> Tensor:
        drawn = {
            task: torch.randn(batch, length, 2 * HIDDEN, device=device, requires_grad=True)
            for task in targets
        }
        torch.manual_seed(1)
        losses = decoder.loss(States({**drawn, "mask": mask}), targets)
        loss = sum(losses.values())
        loss.backward()
        return loss.detach()

    before, loss, seconds = begin(device), torch.zeros(()), []
    for _ in range(repeats):
        torch.manual_seed(0)
        start = perf_counter()
        loss = step()
        synchronize(device)
        seconds.append(perf_counter() - start)
    own = (peak(device) - before) / 2**30
    return {"seconds a step": median(seconds), "own peak GiB": own, "loss": float(loss)}


def begin(device: torch.device) -> int:
    """Bytes that are in use before the first step: the GPU's, or the process's peak."""
    return GPU_MEMORY.begin(device) if device.type == "cuda" else peak(device)


def peak(device: torch.device) -> int:
    """Peak memory in bytes: the GPU's, or the process's."""
    if device.type == "cuda":
        return GPU_MEMORY.peak(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
