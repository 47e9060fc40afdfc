"""The recipes on their sample: what the photo adds, and what remains without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.testing import train_on_sample


@pytest.mark.matrix
def test_text_alone_comes_to_the_bound_of_names_without_regions(tmp_path: Path) -> None:
    figures = train_on_sample("gmner_none", tmp_path / "run")["figures"]["test"]
    assert figures["triples.mner_f1"] > 0.95
    assert 0.4 < figures["triples.gmner_f1"] < 0.65  # half of the names are not to be seen
