"""`mmkit.text_only.v1`: the text encoder's states and nothing else, the baseline without images."""

from __future__ import annotations

from collections.abc import Mapping

from mmkit.batch import Batch, States
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import ALIGNMENT, Fuser


class TextOnly(Fuser):
    """Passes on the features of the encoder named `text`, with the alignment of subwords and tokens."""

    captures = True
    provides: frozenset[str] = frozenset({"tokens", "mask", "pooled"}) | ALIGNMENT

    def __init__(self, text: str = "text") -> None:
        super().__init__()
        self.text = text

    def requires(self) -> dict[str, frozenset[str]]:
        return {self.text: frozenset({"tokens", "mask", "pooled"})}

    def build(self, encoders: Mapping[str, Encoder]) -> None:
        width = encoders[self.text].dim
        self.dims = {"tokens": width, "pooled": width}

    def forward(self, encoders: Mapping[str, Encoder], batch: Batch) -> States:
        inputs = batch.inputs[self.text]
        return States.of_text(encoders[self.text](inputs), inputs)
