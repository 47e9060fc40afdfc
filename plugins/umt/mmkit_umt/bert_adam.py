"""`umt.bert_adam.v1` and `umt.warmup_linear.v1`: the optimizer of UMT's released code, and its learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from mmkit.training.schedules import Factor


class BertAdam(Optimizer):
    """The Adam that trained BERT: no bias correction, decoupled weight decay, epsilon outside the root.

    The gradient of each tensor is clipped separately to the norm `clip` (0: no clipping). Nothing here waits for the
    device.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 5e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        clip: float = 1.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "clip": clip}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; the gradients are left clipped."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group, [p for p in group["params"] if p.grad is not None])
        return loss

    def _update(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        if not parameters:
            return
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        gradients = [p.grad for p in parameters if p.grad is not None]
        first = [self.state[p]["exp_avg"] for p in parameters]
        second = [self.state[p]["exp_avg_sq"] for p in parameters]
        if group["clip"]:
            norms = torch.stack(torch._foreach_norm(gradients))
            torch._foreach_mul_(gradients, list((group["clip"] / (norms + 1e-6)).clamp(max=1.0).unbind()))
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(second)
        torch._foreach_add_(scale, group["eps"])
        # The decay joins the update, and neither depends on the other: it can come first.
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(parameters, first, scale, -group["lr"])


def warmup_linear(total: int, warmup: int) -> Factor:
    """Up to 1 over the first `warmup` updates, then 1 - n / `total`, and 0 after the last.

    So the factor falls by `warmup / total` at the end of the warm-up, as in the authors' code; theirs goes below 0
    after `total` updates.
    """
    return lambda n: n / warmup if n < warmup else max(0.0, 1 - n / total)
