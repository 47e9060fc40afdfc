"""What tests of text encoders share: one that is built, and a batch of it."""

from __future__ import annotations

from pathlib import Path

import torch

from mmkit.data.types import Example, TextView
from mmkit.encoders.transformer import TransformerEncoder


def built(folder: Path, special_tokens: tuple[str, ...] = (), **options) -> TransformerEncoder:
    torch.manual_seed(0)
    encoder = TransformerEncoder(str(folder), **options)
    encoder.build(special_tokens)
    return encoder.eval()


def collate(encoder: TransformerEncoder, examples: list[Example], views: list[TextView] | None = None):
    views = views or [TextView.of(x) for x in examples]
    return encoder.collate(examples, [{"text": v} for v in views])
