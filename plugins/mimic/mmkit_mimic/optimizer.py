"""`mimic.adamw.v1`: AdamW with the authors' epsilon."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

EPSILON = 1e-4
"""PyTorch's default is 1e-8. With 1e-4, parameters with small gradients move less."""


class AdamW(torch.optim.AdamW):
    """PyTorch's AdamW with epsilon 1e-4, as in the authors' `codes/model/lightning_mimic.py`."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = EPSILON,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
