"""What the gate shows on the sample: the similarity that the encoder gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inspecting import inspected_sample


@pytest.mark.slow
def test_the_gate_is_the_similarity_of_photo_and_sentence(tmp_path: Path) -> None:
    model, shown = inspected_sample("tesga_twitter15", tmp_path / "run")
    items = model.model.items([example for example, _, _ in shown])
    batch = model.model.collate(items, targets=False)
    with torch.inference_mode():
        given = model.model.encoders["similarity"](batch.inputs["similarity"])
    expected = (given["similarity"][:, 0, 0] * given["mask"][:, 0]).tolist()
    gates = [tables["similarity gate"].values[0][0] for _, _, tables in shown]
    assert gates == pytest.approx(expected, abs=1e-5) and len(set(gates)) > 1
