"""A linear layer that drops weights rather than activations."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.ops.dropout import dropout


class LinearDropConnect(nn.Linear):
    """In training each weight is zeroed with probability `p`, the rest scaled up (Wan et al., ICML 2013)."""

    def __init__(self, in_features: int, out_features: int, p: float) -> None:
        super().__init__(in_features, out_features)
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, dropout(self.weight, self.p, self.training), self.bias)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"
