"""`listening.spectrum.v1`: how loud a recording is in each band of frequencies."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmkit import Encoder, Entity, Example, Features, PartError, TextView


class Spectrum(Encoder):
    """The spectrum of an example's first recording, in `bands` bands: `pooled [B, 1, bands]`, `mask [B, 1]`.

    With `deaf`, every recording is silence.
    """

    provides = frozenset({"pooled", "mask"})

    def __init__(self, bands: int = 16, deaf: bool = False) -> None:
        super().__init__()
        self.dim, self.deaf = bands, deaf

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """There is no network."""

    def save(self, folder: Path) -> None:
        """There is nothing to save."""

    def collate(
        self, examples: Sequence[Example | Entity], views: Sequence[Mapping[str, TextView]]
    ) -> dict[str, Tensor]:
        heard = [self._spectrum(x) for x in examples]
        silence = torch.zeros(self.dim)
        return {
            "spectrum": torch.stack([silence if s is None else s for s in heard]).unsqueeze(1),
            "mask": torch.tensor([[s is not None] for s in heard]),
        }

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        return {"pooled": inputs["spectrum"], "mask": inputs["mask"]}

    def _spectrum(self, x: Example | Entity) -> Tensor | None:
        recordings = [media for media in x.media if media.kind == "audio"]
        if not recordings or self.deaf:
            return None
        try:
            with wave.open(recordings[0].path) as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
        except (OSError, EOFError, wave.Error) as error:
            raise PartError(f"the recording cannot be read: {error}", where=recordings[0].path) from error
        strength = np.abs(np.fft.rfft(samples / 32_768.0))
        bands = np.array([band.sum() for band in np.array_split(strength, self.dim)])
        return torch.from_numpy(np.log1p(bands)).float()
