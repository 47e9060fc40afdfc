"""`views.three.v1`: the states of three views of a text, word by word."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmkit import Batch, Encoder, Fuser, States
from mmkit.batch import of_view
from mmkit.fusers.base import ALIGNMENT

VIEWS = ("lower", "backwards")


class ThreeViews(Fuser):
    """Adds to each subword's state those that its word has in the two other views. States: `tokens [B, T, D]`."""

    provides = frozenset({"tokens", "mask", "pooled"}) | ALIGNMENT

    def __init__(self, text: str = "text") -> None:
        super().__init__()
        self.text = text

    def requires(self) -> dict[str, frozenset[str]]:
        return {self.text: frozenset({"tokens", "mask", "pooled", *(f"view:{view}" for view in VIEWS)})}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        width = encoders[self.text].dim
        self.dims = {"tokens": width, "pooled": width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        inputs = batch.inputs[self.text]
        text = encoders[self.text](inputs)
        tokens = text["tokens"]
        for view in VIEWS:
            own = of_view(inputs, view)
            tokens = tokens + self._of_words(encoders[self.text](own)["tokens"], own, inputs)
        return States.of_text({**text, "tokens": tokens}, inputs)

    def _of_words(self, states: Tensor, own: Mapping[str, Tensor], main: Mapping[str, Tensor]) -> Tensor:
        """The other view's state of the word that each of the main view's subwords belongs to `[B, T, D]`."""
        first, words = own["first_subword"], main["word_index"]
        at = first.gather(1, words.clamp(min=0, max=max(0, first.shape[1] - 1)))  # [B, T]
        found = states.gather(1, at.clamp(min=0).unsqueeze(2).expand(-1, -1, states.shape[2]))
        return torch.where((words >= 0).unsqueeze(2) & (at >= 0).unsqueeze(2), found, 0.0)
