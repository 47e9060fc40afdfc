"""Whether a part that says `captures` can be captured in a CUDA graph: it is recorded and repeated on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmkit.batch import Batch, Features
from mmkit.errors import one_line
from mmkit.ops.waiting import without_waiting
from mmkit.testing.checked import Checked
from mmkit.training.graphs.buffers import Buffers, shapes
from mmkit.training.graphs.tape import Tape

EXACT = 1e-6
"""What results may differ by."""


def check_captured(
    checked: Checked, part: Any, batch: Batch, other: Batch, compute: Callable[[Batch], Features]
) -> None:
    """Fail if a part says that it can be captured, and what `compute` does with it cannot.

    It is recorded with `batch`, then repeated with the tensors of `other`, where it must give what it gives without
    a recording. Batches of different shapes are not compared.
    """
    if part.captures is not True or "captures" not in vars(type(part)) or shapes(batch) != shapes(other):
        return
    buffers = Buffers(batch, torch.device("cpu"))
    try:
        played = Tape().record(lambda: compute(buffers.batch))
    except Exception as error:
        checked.fail("captures", f"it is True, but {type(error).__name__}: {one_line(error)}")
    played.replay()
    buffers.fill(other)
    torch.manual_seed(4)
    repeated = {name: tensor.clone() for name, tensor in played.replay().items()}
    torch.manual_seed(4)
    with without_waiting():
        computed = compute(other)
    checked.equal("captures", computed, repeated, EXACT, "when it is repeated for another batch")


def with_gradients(tensors: Mapping[str, Tensor], *modules: nn.Module) -> Features:
    """Tensors beside the gradients that a backward pass from the sum of their squares gives to some modules."""
    floats = [
        tensor.float() for tensor in tensors.values() if tensor.is_floating_point() and tensor.requires_grad
    ]
    for module in modules:
        module.zero_grad()
    if floats:
        sum(tensor.square().sum() for tensor in floats).backward()  # type: ignore[union-attr]
    gradients = {
        f"the gradient of {name}": parameter.grad
        for module in modules
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }
    return {**{name: tensor.detach() for name, tensor in tensors.items()}, **gradients}
