"""The parts keep their stations' contracts, and the recipes' pictures matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.testing import check_decoder, check_fuser, check_recipe, train_on_sample


def test_the_fuser() -> None:
    check_fuser("hvpnet.visual_prefix.v1")


@pytest.mark.parametrize("name", ["hvpnet.crf_tagger.v1", "hvpnet.softmax_tagger.v1"])
@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_the_taggers(name: str, scheme: str) -> None:
    check_decoder(name, {"scheme": scheme})


@pytest.mark.matrix
@pytest.mark.parametrize(("dataset", "figure"), [("twitter15", "spans.f1"), ("mnre", "relations.f1")])
def test_the_recipes_beat_text_alone_too(dataset: str, figure: str, tmp_path: Path) -> None:
    figures = check_recipe(
        f"hvpnet_{dataset}", folder=tmp_path, at_least=0.95, beats_blank=0.25, resumes=False
    )
    text = train_on_sample(f"text_only_{dataset}", tmp_path / "text")["figures"]["test"]
    assert figures[figure] > text[figure]
