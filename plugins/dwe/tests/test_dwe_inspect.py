"""What the attention over parts shows on the sample: a weight for each part of the photo."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspecting import inspected_sample


@pytest.mark.slow
def test_each_head_divides_its_attention_among_the_parts(tmp_path: Path) -> None:
    model, shown = inspected_sample("dwe_wikimel", tmp_path / "run")
    for example, _, tables in shown:
        table = tables["attention over parts"]
        parts = [image for image in example.images if image.role == "object"]
        assert table.columns == [f"part {i + 1}" for i in range(len(parts))] or not parts
        assert len(table.rows) == model.model.fuser.heads
        assert [sum(row) for row in table.values] == pytest.approx([1.0] * len(table.rows), abs=1e-5)
    assert any(len(tables["attention over parts"].columns) > 1 for _, _, tables in shown)
