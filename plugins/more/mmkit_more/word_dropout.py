"""Dropout of whole words, as in flair (Akbik et al., 2019) and the configurations of MoRe."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkit.batch import States
from mmkit.errors import RecipeError


class WordDropout(nn.Module):
    """In training, each state becomes the zero vector with probability `p`; the others are not scaled up.

    Raises `RecipeError` for a `p` outside [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise RecipeError(
                f"word_dropout must be at least 0 and less than 1, not {p}",
                where="model.decoder.word_dropout",
                code="part.setting",
            )
        self.p = p

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, states: Tensor) -> Tensor:
        """States `[..., D]`."""
        if not self.training or self.p == 0:
            return states
        return states * torch.empty_like(states[..., :1]).bernoulli_(1 - self.p)

    def tokens(self, states: States) -> States:
        """`states` with some of its `tokens` zeroed: all a decoder sees of a word is one of them."""
        if not self.training or self.p == 0:
            return states
        return States({**states.tensors, "tokens": self(states["tokens"])}, states.losses)
