"""The encoder of docs/plugins.md: it runs as it stands there."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from mmkit.data.types import Example, Media
from mmkit.encoders.store import prepare
from mmkit.errors import DataError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"


def write(path: Path, frequency: float) -> str:
    sound = (np.sin(np.arange(8000) * frequency) * 20000).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(sound.tobytes())
    return str(path)


def test_an_encoder_of_sound_computes_and_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    section = PAGE.read_text(encoding="utf-8").split("## Encoders of items")[1]
    names: dict = {}
    exec(section.split("```python\n")[1].split("```")[0], names)
    torch.manual_seed(0)
    encoder = names["Spectrum"]()
    encoder.build()
    encoder.requires_grad_(False)
    low, high = write(tmp_path / "low.wav", 0.01), write(tmp_path / "high.wav", 0.5)
    examples = [
        Example.from_tokens(path, ["a"], media=(Media(path, "audio"),) if path else ())
        for path in (low, high, "")
    ]
    computed = encoder(encoder.collate(examples, [{}] * 3))
    assert computed["mask"].tolist() == [[True], [True], [False]]
    assert not computed["pooled"][2].any()
    assert (computed["pooled"][0] - computed["pooled"][1]).abs().max() > 1
    assert prepare(encoder, examples).computed == 2
    stored = encoder(encoder.collate(examples, [{}] * 3))
    torch.testing.assert_close(stored["pooled"], computed["pooled"], rtol=1e-5, atol=1e-4)
    lost = Example.from_tokens("x", ["a"], media=(Media(str(tmp_path / "lost.wav"), "audio"),))
    with pytest.raises(DataError, match="sound cannot be read"):
        prepare(encoder, [lost])
