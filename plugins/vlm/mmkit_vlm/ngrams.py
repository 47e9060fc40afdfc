"""`vlm.ngrams.v1`: a text as counts of its words and parts of words, without a network."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Entity, Example, TextView
from mmkit.encoders.base import Encoder
from mmkit.errors import PartError


class Ngrams(Encoder):
    """Hashed words and trigrams of a sentence, by which similar sentences are found with no model at all.

    Each word and each trigram of its letters, in lower case, is counted in one of `width` places, by its CRC-32; counts
    enter as `1 + log(count)`. Features: `pooled [B, 1, width]` and `mask [B, 1]`. `mmkit.transformer_texts.v1` with
    `source = "sentence"` may take its place.
    """

    provides = frozenset({"pooled", "mask"})
    frozen = True

    def __init__(self, width: int = 2048) -> None:
        super().__init__()
        if width < 1:
            raise PartError(f"width must be at least 1, not {width}", code="part.setting")
        self.width = width

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        self.dim = self.width

    def save(self, folder: Path) -> None:
        """There is nothing to save."""

    def check_reads(self, kind: type[Example] | type[Entity]) -> None:
        if kind is Entity:
            raise PartError("vlm.ngrams.v1 reads sentences, not entities", code="part.setting")

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        """`counts [B, width]`."""
        counts = torch.zeros(len(examples), self.width)
        for row, example in enumerate(examples):
            assert isinstance(example, Example)
            found = Counter(
                zlib.crc32(part.encode("utf-8", "replace")) % self.width for part in parts(example.text)
            )
            if found:
                counts[row, list(found)] = 1 + torch.tensor(list(found.values())).float().log()
        return {"counts": counts}

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        counts = inputs["counts"]
        return {
            "pooled": counts[:, None],
            "mask": torch.ones(len(counts), 1, dtype=torch.bool, device=counts.device),
        }


def parts(text: str) -> list[str]:
    """The words of a text in lower case, and the trigrams of each, with marks where a word begins and ends."""
    words = text.lower().split()
    return words + [f"^{word}$"[i : i + 3] for word in words for i in range(len(word))]
