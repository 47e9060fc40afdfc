"""A layer of BERT whose queries come from one sequence and whose keys and values come from another."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmkit.fusers.attention import attend, check_heads
from mmkit.ops.dropout import Dropout


class CrossLayer(nn.Module):
    """Multi-head attention, then a feed-forward network, each with a residual and a LayerNorm after it.

    With the same sequence on both sides it is BERT's own layer (Devlin et al., 2019). `width` is that of both
    sequences, `hidden` that of the feed-forward network. LayerNorms have epsilon 1e-12, GELU is the exact one.

    Raises `PartError` unless `width` is a multiple of `heads`.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.found = nn.Linear(width, width)
        self.found_norm = nn.LayerNorm(width, eps=1e-12)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, asking: Tensor, asked: Tensor, mask: Tensor | None = None) -> Tensor:
        """`[B, S, D]`: the attention of `asking [B, S, D]` over `asked [B, L, D]`, under `mask [B, L]` (True where
        real)."""
        found = attend(
            self.query(asking),
            self.key(asked),
            self.value(asked),
            self.heads,
            mask,
            dropout=self.dropout.p if self.training else 0.0,
        )
        attended = self.found_norm(self.dropout(self.found(found)) + asking)
        narrowed = self.narrow(F.gelu(self.widen(attended)))
        out: Tensor = self.norm(self.dropout(narrowed) + attended)
        return out


def start(module: nn.Module, deviation: float) -> None:
    """Initial weights of linear layers as in BERT: N(0, `deviation`), with biases of 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=deviation)
            nn.init.zeros_(part.bias)
