"""The parts keep their stations' contracts, and the recipes' photos matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.testing import StateFuser, check_decoder, check_fuser, check_recipe


def test_the_fuser() -> None:
    check_fuser("umt.interaction.v1", {"heads": 4, "layers": [2, 1, 3]}, blanks="beside")


def test_the_tagger() -> None:
    check_decoder("umt.span_aided_tagger.v1", fuser=StateFuser(also=["auxiliary"]))


@pytest.mark.matrix
@pytest.mark.parametrize("dataset", ["twitter15", "twitter17"])
def test_the_recipes(dataset: str, tmp_path: Path) -> None:
    check_recipe(f"umt_{dataset}", folder=tmp_path, at_least=0.9, beats_blank=0.25, resumes=False)
