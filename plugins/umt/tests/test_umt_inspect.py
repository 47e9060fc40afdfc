"""What the visual gate shows on the sample: a number for each word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inspecting import inspected_sample


@pytest.mark.slow
def test_each_word_has_the_gate_of_its_first_subword(tmp_path: Path) -> None:
    model, shown = inspected_sample("umt_twitter15", tmp_path / "run", 1)
    [(example, _, tables)] = shown
    network = model.model
    batch = network.collate(network.items([example]), targets=False)
    with torch.inference_mode():
        text, vision = (network.encoders[name](batch.inputs[name]) for name in ("text", "vision"))
        states = network.fuser.interact(text["tokens"], text["mask"], vision["grid"], vision["mask"])
    first = batch.inputs["text"]["first_subword"][0]
    expected = states["gate"][0, first].mean(-1).tolist()
    table = tables["visual gate"]
    assert tuple(table.rows) == example.tokens and table.by_token
    assert [value for (value,) in table.values] == pytest.approx(expected, abs=1e-5)
