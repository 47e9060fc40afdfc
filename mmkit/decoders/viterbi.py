"""Best and n best tag sequences of a linear chain: max-plus recursions over the whole batch at once.

Sequences of different lengths share a batch through one extra tag, PAD: after its last position a sequence moves to
PAD at the cost of its end score, and stays there at no cost. So no recursion needs a mask.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NEVER = float("-inf")


class Chain(NamedTuple):
    """Scores of a batch of chains over K tags and PAD, the last one; T is even."""

    unary: Tensor  # [T, B, K + 1]
    start: Tensor  # [K + 1]
    end: Tensor  # [K + 1]
    pairwise: Tensor  # [K + 1, K + 1], from row to column


def padded_chain(emissions: Tensor, mask: Tensor, start: Tensor, end: Tensor, transitions: Tensor) -> Chain:
    """The chain with PAD for emissions `[B, T, K]`; `mask [B, T]` is True on each row's first positions."""
    odd = emissions.shape[1] % 2
    mask = F.pad(mask, (0, odd))
    unary = F.pad(emissions, (0, 1, 0, odd))
    real = F.pad(mask.unsqueeze(2).expand(*mask.shape, emissions.shape[2]), (0, 1))
    real[..., -1] = ~mask  # PAD exactly where there is nothing
    unary = unary.masked_fill(~real, NEVER)

    pairwise = F.pad(transitions, (0, 1, 0, 1), value=NEVER)
    pairwise[:-1, -1] = end
    pairwise[-1, -1] = 0
    return Chain(unary.transpose(0, 1).contiguous(), F.pad(start, (0, 1)), F.pad(end, (0, 1)), pairwise)


def best_path(chain: Chain) -> tuple[Tensor, Tensor]:
    """The best path `[B, T]` of each chain and its score `[B]` (-inf if every path is forbidden).

    The left half is solved from the start and the right half from the end, side by side, which halves the
    number of steps; the best pair of middle tags joins them. The batch is the innermost dimension of the
    scores: the maximum over tags then runs along whole vectors, several times faster on a CPU.
    """
    unary, start, end, pairwise = chain
    half, (_, B, K) = len(unary) // 2, unary.shape
    sides = torch.stack([unary[:half], unary[half:].flip(0)], dim=1)  # [T/2, 2, B, K]
    inwards = torch.stack([pairwise, pairwise.t()])  # [2, K, K], from row to column

    emissions = sides.transpose(2, 3).contiguous()
    scores = torch.empty_like(emissions)
    scores[0] = emissions[0] + torch.stack([start, end]).unsqueeze(2)
    emitted, best, moves = emissions.unbind(0), scores.unbind(0), scores.new_empty(2, K, K, B)
    for t in range(1, half):
        torch.add(best[t - 1].unsqueeze(2), inwards.unsqueeze(3), out=moves)
        torch.amax(moves, dim=1, out=best[t]).add_(emitted[t])

    left, right = best[-1]
    score, pair = (left.unsqueeze(1) + pairwise.unsqueeze(2) + right.unsqueeze(0)).flatten(0, 1).max(0)

    # Outwards again: which tag led to the one chosen. Tags of the right half are numbered from K on.
    side = (torch.arange(2, device=pair.device) * K).repeat_interleave(B)
    path = pair.new_empty(half, 2 * B)
    path[-1] = torch.cat([pair // K, pair % K]) + side
    came = inwards.transpose(1, 2).flatten(0, 1)  # [2 K, K], to row, from column
    reached, tags = scores.transpose(2, 3).flatten(1, 2).unbind(0), path.unbind(0)
    for t in range(half - 2, -1, -1):
        torch.argmax(came.index_select(0, tags[t + 1]) + reached[t], dim=1, out=tags[t]).add_(side)
    path = (path - side).view(half, 2, B)
    return torch.cat([path[:, 0], path[:, 1].flip(0)]).t(), score


def n_best_paths(chain: Chain, n: int) -> tuple[Tensor, Tensor]:
    """The n best paths `[B, n, T]` of each chain and their scores `[B, n]`, best first.

    If fewer than n paths are allowed, the others have the score -inf.
    """
    unary, start, end, pairwise = chain
    _, B, K = unary.shape
    score = unary.new_full((B, K, n), NEVER)  # the n best paths that end in each tag
    score[..., 0] = start + unary[0]
    pointers = []
    for emitted in unary[1:].unbind(0):
        moves = score.unsqueeze(1) + pairwise.t().unsqueeze(2)  # [B, to, from, rank]
        kept, pointer = moves.flatten(2).topk(n, dim=2)
        score = kept + emitted.unsqueeze(2)
        pointers.append(pointer.flatten(1))  # cell (to, rank) → cell (from, rank)

    best, cell = (score + end.unsqueeze(1)).flatten(1).topk(n, dim=1)  # [B, n]
    cells = [cell]
    for pointer in reversed(pointers):
        cells.append(pointer.gather(1, cells[-1]))
    return torch.stack(cells[::-1], dim=2) // n, best
