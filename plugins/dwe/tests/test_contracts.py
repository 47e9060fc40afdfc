"""The parts keep their stations' contracts, and the recipe's photos matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmkit.testing import check_annotator, check_fuser, check_recipe, train_on_sample


@pytest.mark.parametrize("settings", [{}, {"profile": "profile"}])
def test_the_fuser(settings: dict[str, Any]) -> None:
    check_fuser("dwe.dual_way.v1", {"hidden": 16, "heads": 2, **settings})


@pytest.mark.parametrize("name", ["dwe.parts.v1", "dwe.profiles.v1", "dwe.published_parts.v1"])
def test_the_annotators(name: str, tmp_path: Path) -> None:
    check_annotator(name, folder=tmp_path)


@pytest.mark.matrix
def test_the_recipe_beats_text_alone_too(tmp_path: Path) -> None:
    figures = check_recipe("dwe_wikimel", folder=tmp_path, at_least=0.95, beats_blank=0.25, resumes=False)
    text = train_on_sample("text_only_wikimel", tmp_path / "text")["figures"]["test"]
    assert figures["linking.top1"] >= 0.25 + text["linking.top1"]
