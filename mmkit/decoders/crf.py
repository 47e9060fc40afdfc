"""A linear-chain conditional random field, vectorised over the batch (Lafferty et al., 2001)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmkit.decoders import chain_scan
from mmkit.decoders.viterbi import NEVER, Chain, best_path, n_best_paths, padded_chain

FORBIDDEN = -1e4
"""Score of a forbidden transition in likelihoods and marginals: finite, so that gradients stay finite too."""


class LinearChainCRF(nn.Module):
    """Scores a tag sequence by its emissions and by the transitions between neighbours.

    Emissions are `[B, T, K]`, masks `[B, T]`, T at least 1; tags are `[B, T]`, or `[B, n, T]` for n sequences in each
    row. A mask is True on a row's first steps and False after them. Values at masked positions, even NaN, have no
    effect. A row that is completely masked has one sequence, the empty one, with score 0. Everything is computed in
    float32 at least, also under autocast.

    Parameters are named and laid out as in pytorch-crf: `transitions[i, j]` scores going from tag i to tag j.
    `allowed [K + 1, K + 1]`, if given, says which transitions are allowed; its last row is the start and its last
    column the end. It is not part of the state dict.

    Methods raise `ValueError` for tensors of another shape.
    """

    allowed: Tensor | None
    _scan: bool | None = None
    """Whether chains are computed in a tree: None means on devices other than CPUs. Tests set it."""

    def __init__(self, num_tags: int, allowed: Tensor | None = None) -> None:
        super().__init__()
        if num_tags < 1:
            raise ValueError(f"a CRF needs at least one tag, not {num_tags}")
        if allowed is not None:
            _require("allowed", allowed, (num_tags + 1, num_tags + 1))
        self.num_tags = num_tags
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.register_buffer("allowed", allowed, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def extra_repr(self) -> str:
        return f"{self.num_tags}, constrained={self.allowed is not None}"

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """log p(tags | emissions), `[B]`, or `[B, n]` for n sequences in each row, for which one partition is computed.

        `tags` may have any value at masked positions. A sequence with forbidden transitions has a log-likelihood near
        -10,000 for each of them.
        """
        self._check(emissions, mask, tags)
        with torch.autocast(emissions.device.type, enabled=False):
            emissions, _ = _centred(
                emissions, mask
            )  # no likelihood changes, and long sums keep their precision
            partition = self._log_partition(emissions, mask)
            return self._score(emissions, tags, mask) - partition.view(-1, *[1] * (tags.dim() - 2))

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """log Σ exp(score) over all tag sequences, `[B]`."""
        self._check(emissions, mask)
        with torch.autocast(emissions.device.type, enabled=False):
            emissions, largest = _centred(emissions, mask)
            return self._log_partition(emissions, mask) + largest.sum(1)

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """The unnormalised score of tags, `[B]` or `[B, n]`: the log-likelihood plus the log-partition."""
        self._check(emissions, mask, tags)
        with torch.autocast(emissions.device.type, enabled=False):
            return self._score(_without_masked(emissions, mask), tags, mask)

    def log_marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """log p(tag at t | emissions), `[B, T, K]`, differentiable.

        Masked positions are 0, so that sums over positions need no mask. Forward filtering, then backward
        smoothing in log space: each position's marginals sum to 1 by construction.
        """
        self._check(emissions, mask)
        with torch.autocast(emissions.device.type, enabled=False):
            start, end, transitions = self._scores(emissions, FORBIDDEN)
            emissions, _ = _centred(emissions, mask)
            if self._in_a_tree(emissions):
                steps, first = chain_scan.steps(emissions, mask, transitions), start + emissions[:, 0]
                before, after = chain_scan.messages(steps, first, end, chain_scan.log_product)
                return (before + after).log_softmax(2).masked_fill(~mask.unsqueeze(2), 0.0)
            last = _last(mask)
            alphas, incoming = _filter(emissions.permute(1, 2, 0), start, transitions)
            conditionals = _log_conditionals(alphas, incoming, transitions)
            final = (_at(alphas, last) + end.unsqueeze(1)).log_softmax(0)
            marginals = [final]
            for t in range(len(alphas) - 2, -1, -1):
                smoothed = (conditionals[t] + marginals[-1]).logsumexp(1)
                marginals.append(torch.where(t < last, smoothed, final))
            return torch.stack(marginals[::-1]).permute(2, 0, 1).masked_fill(~mask.unsqueeze(2), 0.0)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The best tags `[B, T]`, -1 at masked positions, and their unnormalised score `[B]`.

        If the constraints allow no sequence of a row's length, its tags are -1 and its score -inf; if an emission is
        NaN, its tags are -1 and its score NaN.
        """
        chain = self._chain(emissions, mask)
        best = chain_scan.best_path if self._in_a_tree(emissions) else best_path
        tags, score = best(chain)
        found = mask & (score > NEVER).unsqueeze(1)
        return tags[:, : mask.shape[1]].masked_fill(~found, -1), score

    @torch.no_grad()
    def viterbi_nbest(self, emissions: Tensor, mask: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """The n best tag sequences `[B, n, T]` and their unnormalised scores `[B, n]`, best first.

        Masked positions are -1. If fewer than n sequences exist, the others are all -1 and have the score -inf.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}")
        tags, scores = n_best_paths(self._chain(emissions, mask), n)
        found = mask.unsqueeze(1) & (scores > NEVER).unsqueeze(2)
        return tags[..., : mask.shape[1]].masked_fill(~found, -1), scores

    def _log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        scores = self._scores(emissions, FORBIDDEN)
        if self._in_a_tree(emissions):
            steps = chain_scan.steps(emissions, mask, scores.transitions)
            partition = chain_scan.total(steps, scores.start + emissions[:, 0], scores.end)
        else:
            partition = _LogPartition.apply(emissions.permute(1, 2, 0).contiguous(), _last(mask), *scores)
        return torch.where(mask[:, 0], partition, 0.0)

    def _score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        scores = self._scores(emissions, FORBIDDEN)
        score = _path_score(emissions, tags.reshape(len(tags), -1, tags.shape[-1]), mask, scores)
        return torch.where(mask[:, :1], score, 0.0).view(tags.shape[:-1])

    def _chain(self, emissions: Tensor, mask: Tensor) -> Chain:
        self._check(emissions, mask)
        start, end, transitions = self._scores(emissions, NEVER)
        return padded_chain(emissions.to(start.dtype), mask, start, end, transitions)

    def _in_a_tree(self, emissions: Tensor) -> bool:
        """Whether a few operations on much are better than many on little: on a GPU, unless there are many tags."""
        if self._scan is None:
            return emissions.device.type != "cpu" and self.num_tags <= chain_scan.MOST_TAGS
        return self._scan

    def _scores(self, emissions: Tensor, forbidden: float) -> Scores:
        """The parameters in the precision to compute in, constraints applied."""
        parameters = (self.start_transitions, self.end_transitions, self.transitions)
        scores = Scores(*(p.to(_precision(emissions)) for p in parameters))
        if self.allowed is None:
            return scores
        forbid = ~self.allowed
        return Scores(
            scores.start.masked_fill(forbid[-1, :-1], forbidden),
            scores.end.masked_fill(forbid[:-1, -1], forbidden),
            scores.transitions.masked_fill(forbid[:-1, :-1], forbidden),
        )

    def _check(self, emissions: Tensor, mask: Tensor, tags: Tensor | None = None) -> None:
        if emissions.dim() != 3 or emissions.shape[2] != self.num_tags or emissions.shape[1] == 0:
            raise ValueError(f"emissions must be [B, T >= 1, {self.num_tags}], not {list(emissions.shape)}")
        _require("mask", mask, emissions.shape[:2])
        if tags is not None and (tags.dim() not in (2, 3) or (len(tags), tags.shape[-1]) != mask.shape):
            B, T = mask.shape
            raise ValueError(f"tags must be [{B}, {T}] or [{B}, n, {T}], not {list(tags.shape)}")


class Scores(NamedTuple):
    """A CRF's parameters, ready to compute with."""

    start: Tensor  # [K]
    end: Tensor  # [K]
    transitions: Tensor  # [K, K], from row to column


def _require(name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    if tensor.shape != tuple(shape) or tensor.dtype != torch.bool:
        raise ValueError(f"{name} must be bool {list(shape)}, not {tensor.dtype} {list(tensor.shape)}")


def _precision(emissions: Tensor) -> torch.dtype:
    return torch.promote_types(emissions.dtype, torch.float32)


def _without_masked(emissions: Tensor, mask: Tensor) -> Tensor:
    """Emissions in the precision to compute in, 0 where masked."""
    return emissions.to(_precision(emissions)).masked_fill(~mask.unsqueeze(2), 0.0)


def _centred(emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Emissions less their maximum at each position, 0 where masked; and those maxima `[B, T]`.

    This does not change likelihoods and marginals; the score of every sequence becomes smaller by the sum of the
    maxima.
    """
    emissions = _without_masked(emissions, mask)
    largest = emissions.detach().amax(2)
    return emissions - largest.unsqueeze(2), largest


def _last(mask: Tensor) -> Tensor:
    """Index of each row's last real position `[B]`; 0 for a row that is all masked."""
    return (mask.sum(1) - 1).clamp(min=0)


def _at(values: Tensor, position: Tensor) -> Tensor:
    """`values [T, K, B]` at each row's own position: `[K, B]`."""
    return values.gather(0, position.expand(1, values.shape[1], -1)).squeeze(0)


def _path_score(emissions: Tensor, tags: Tensor, mask: Tensor, scores: Scores) -> Tensor:
    """Unnormalised scores `[B, n]` of tag sequences `[B, n, T]`."""
    mask = mask.unsqueeze(1)
    tags = tags.masked_fill(~mask, 0)
    final = tags.gather(2, _last(mask[:, 0]).view(-1, 1, 1).expand(-1, tags.shape[1], 1)).squeeze(2)
    emitted = emissions.gather(2, tags.transpose(1, 2))  # 0 at masked positions, as the emissions are
    moved = scores.transitions[tags[..., :-1], tags[..., 1:]].masked_fill(~mask[..., 1:], 0.0)
    return scores.start[tags[..., 0]] + emitted.sum(1) + moved.sum(2) + scores.end[final]


def _filter(emissions: Tensor, start: Tensor, transitions: Tensor) -> tuple[Tensor, Tensor]:
    """Forward recursion over emissions `[T, K, B]`.

    Returns `alphas [T, K, B]`, the log-sum of all prefixes that end in a tag, and `incoming [T - 1, K, B]`,
    the same before the position's own emission is added. With the batch innermost, sums over tags run along
    whole vectors.
    """
    first, *rest = emissions.unbind(0)
    alphas, incoming = [start.unsqueeze(1) + first], []
    for emitted in rest:
        incoming.append((alphas[-1].unsqueeze(1) + transitions.unsqueeze(2)).logsumexp(0))
        alphas.append(incoming[-1] + emitted)
    return torch.stack(alphas), torch.stack(incoming) if rest else emissions[1:]


def _log_conditionals(alphas: Tensor, incoming: Tensor, transitions: Tensor) -> Tensor:
    """log p(tag i at t - 1 | tag j at t, what came before), `[T - 1, i, j, B]`."""
    return alphas[:-1].unsqueeze(2) + transitions.unsqueeze(2) - incoming.unsqueeze(1)


class _LogPartition(torch.autograd.Function):
    """log Σ exp(score) over all tag sequences, `[B]`, of emissions `[T, K, B]`.

    Its gradient with respect to the emissions is the marginals, found by smoothing with
    p(tag at t - 1 | tag at t): one small product a step, where autograd would replay the forward recursion.
    """

    @staticmethod
    def forward(ctx: Any, emissions: Tensor, last: Tensor, *scores: Tensor) -> Tensor:
        start, end, transitions = scores
        alphas, incoming = _filter(emissions, start, transitions)
        final = _at(alphas, last) + end.unsqueeze(1)
        ctx.save_for_backward(alphas, incoming, last, final, transitions)
        return final.logsumexp(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        alphas, incoming, last, final, transitions = ctx.saved_tensors
        conditionals = _log_conditionals(alphas, incoming, transitions).exp_()
        at_end = grad * final.softmax(0)  # [K, B]
        marginals = torch.zeros_like(alphas).scatter_(0, last.expand(1, *at_end.shape), at_end.unsqueeze(0))
        steps = marginals.unbind(0)
        for t in range(len(steps) - 2, -1, -1):
            steps[t].add_((conditionals[t] * steps[t + 1]).sum(1))
        moves = (conditionals * marginals[1:].unsqueeze(1)).sum((0, 3))
        return marginals, None, marginals[0].sum(1), at_end.sum(1), moves
