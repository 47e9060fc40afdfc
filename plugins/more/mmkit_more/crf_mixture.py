"""A mixture of linear-chain CRFs: exact likelihoods and marginals, and decoding from n-best lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mmkit.decoders.crf import LinearChainCRF
from mmkit.decoders.viterbi import NEVER
from mmkit_more.experts import mix


class Found(NamedTuple):
    """The most probable of the sequences that a mixture's CRFs proposed."""

    tags: Tensor  # [B, W], -1 at masked positions
    log_prob: Tensor  # [B], under the mixture
    bound: Tensor  # [B], an upper bound of the log-probability of sequences that were not proposed

    @property
    def proven(self) -> Tensor:
        """Whether no other tag sequence is more probable, up to rounding: bool `[B]`."""
        return self.log_prob >= self.bound


@dataclass(frozen=True)
class CrfMixture:
    """p(y) = Σₖ λₖ pₖ(y) over whole tag sequences y (MoRe; Wang et al., 2022, the mixture for NER).

    `log_weights [B, E]` are log λ, `emissions` one `[B, W, K]` for each of the E CRFs, `mask [B, W]` as the CRFs
    take it.
    """

    crfs: Sequence[LinearChainCRF]
    log_weights: Tensor
    emissions: Sequence[Tensor]
    mask: Tensor

    def log_likelihood(self, tags: Tensor) -> Tensor:
        """log p(tags), exactly: `[B]` of tags `[B, W]`, `[B, n]` of `[B, n, W]`."""
        return mix(self.log_weights, self._log_likelihoods(tags))

    def log_marginals(self) -> Tensor:
        """log p(tag of a word) `[B, W, K]`: a mixture's marginals are the mixture of its parts' marginals."""
        parts = zip(self.crfs, self.emissions, strict=True)
        return mix(self.log_weights, [crf.log_marginals(own, self.mask) for crf, own in parts])

    @torch.no_grad()
    def search(self, n: int) -> Found:
        """The best sequence under the mixture, among the n best of each CRF, all rescored together.

        A mixture does not factor over words, so no recursion finds the best of all sequences; but often the result is
        proven to be the best. A sequence that CRF k did not propose is, for k, at most as probable as its n-th best.
        So the log-probability of a sequence that no CRF proposed is at most `bound`, log Σₖ λₖ pₖ(n-th best of k).
        """
        lists = [
            crf.viterbi_nbest(own, self.mask, n) for crf, own in zip(self.crfs, self.emissions, strict=True)
        ]
        tags = torch.cat([own for own, _ in lists], dim=1)  # [B, E·n, W]
        exists = torch.cat([scores > NEVER for _, scores in lists], dim=1)  # a CRF may allow fewer than n
        each = [own.masked_fill(~exists, NEVER) for own in self._log_likelihoods(tags.clamp(min=0))]
        log_prob, best = mix(self.log_weights, each).max(1)
        nth_best = [own[:, (k + 1) * n - 1] for k, own in enumerate(each)]
        chosen = tags.gather(1, best.view(-1, 1, 1).expand(-1, 1, tags.shape[2])).squeeze(1)
        return Found(chosen, log_prob, mix(self.log_weights, nth_best))

    def _log_likelihoods(self, tags: Tensor) -> list[Tensor]:
        parts = zip(self.crfs, self.emissions, strict=True)
        return [crf.log_likelihood(own, tags, self.mask) for crf, own in parts]
