"""The table head: scores of all pairs of positions, without keeping their concatenated states in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmkit.ops.dropout import Dropout

CELLS = 1 << 14
"""Cells of a table that are computed together on a CPU, whose caches hold no more, and at least elsewhere."""
MOST = 1 << 22
"""The most that are computed together."""
FLOATS = 8
"""Numbers of float32 that a cell and its gradient take in a block, times `hidden`."""
SHARE = 1 / 8
"""Of a GPU's free memory, for a block."""


def cells_together(free_bytes: int, hidden: int) -> int:
    """The cells that are computed together where so much memory is free: a power of 2, so that little changes it."""
    fit = int(SHARE * free_bytes) // (4 * FLOATS * hidden)
    return max(CELLS, min(MOST, 1 << max(0, fit.bit_length() - 1)))


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that is free, or that torch holds and does not use; 0 for other devices."""
    if device.type != "cuda":
        return 0
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


class TableHead(nn.Module):
    """Scores labels for a pair (i, j) of positions from [fused_i; fused_j; global] (paper, "Table decoder").

    The layer over the three is the sum of three layers, added by broadcasting; rows are scored block by block and, in
    training, again for their gradient. So hidden states are in memory for one block, not for all T² cells; scores are
    in memory for all. A block has `cells` cells; with None `CELLS` on a CPU, and on a GPU as many as fit in a share of
    the memory that is free at the first table.
    """

    def __init__(self, width: int, labels: int, dropout: float, cells: int | None = None) -> None:
        super().__init__()
        self.hidden, self.together = width // 2, cells
        self.summary = nn.Linear(width, self.hidden)
        self.pair = nn.Linear(3 * self.hidden, self.hidden)
        self.norm = nn.LayerNorm(self.hidden)
        self.labels = nn.Linear(self.hidden, labels)
        self.dropout = Dropout(dropout)

    def overall(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """The sentence's vector `[B, h]`: the maximum of `states [B, T, 2h]` over positions, under `mask [B, T]`."""
        summary = torch.tanh(self.summary(states))
        if mask is not None:
            summary = summary.masked_fill(~mask.unsqueeze(2), -1.0)  # below any tanh
        return summary.amax(1)

    def parts(self, states: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The parts that a position adds to the cells of its row and of its column, `[B, T, h]` each.

        The sentence's vector is added to the rows' part.
        """
        as_first, as_second, as_whole = self.pair.weight.chunk(3, dim=1)
        fused = states[..., self.hidden :]
        whole = F.linear(self.overall(states, mask), as_whole, self.pair.bias)
        return F.linear(fused, as_first) + whole.unsqueeze(1), F.linear(fused, as_second)

    def cells(self, summed: Tensor) -> Tensor:
        """Label scores `[..., R]`, before the sigmoid, of cells' sums `[..., h]`."""
        scores: Tensor = self.labels(F.elu(self.dropout(self.norm(summed))))
        return scores

    def blocks(
        self, states: Tensor, mask: Tensor | None, upper: bool
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """The table, block by block of rows: rows, columns and scores `[B, rows, columns, R]`.

        With `upper` columns before a block's first row are left out; its cells below the diagonal are not.
        """
        row_part, column_part = self.parts(states, mask)
        batch, length, _ = states.shape
        size = max(1, self._together(states.device) // (batch * length))

        def scores(rows: Tensor, columns: Tensor) -> Tensor:
            return self.cells(rows.unsqueeze(2) + columns.unsqueeze(1))

        for first in range(0, length, size):
            rows, columns = slice(first, min(first + size, length)), slice(first if upper else 0, length)
            given = row_part[:, rows], column_part[:, columns]
            if torch.is_grad_enabled():
                yield rows, columns, checkpoint(scores, *given, use_reentrant=False)
            else:
                yield rows, columns, scores(*given)

    def _together(self, device: torch.device) -> int:
        """The cells of a block: asked for once, before the tables themselves take memory."""
        if device.type == "cpu":
            return self.together or CELLS
        if self.together is None:
            self.together = cells_together(free_bytes(device), self.hidden)
        return self.together
