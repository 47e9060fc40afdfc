"""The parts keep their stations' contracts, and the recipes' photos matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmkit.testing import check_annotator, check_fuser, check_recipe, stand_in_entities


@pytest.mark.parametrize("form", ["released", "paper"])
def test_the_fuser(form: str) -> None:
    check_fuser("dim.dynamic_query.v1", {"form": form, "heads": 4})


def test_captions(tmp_path: Path) -> None:
    check_annotator("dim.blip2_captions.v1", folder=tmp_path)


def test_descriptions(tmp_path: Path) -> None:
    without = [replace(entity, description="") for entity in stand_in_entities()]
    check_annotator("dim.entity_descriptions.v1", folder=tmp_path, records=without)


@pytest.mark.matrix
def test_the_recipe(tmp_path: Path) -> None:
    check_recipe("dim_wikimel", folder=tmp_path, at_least=0.95, beats_blank=0.25, resumes=False)


@pytest.mark.matrix
def test_the_recipe_with_the_papers_form(tmp_path: Path) -> None:
    check_recipe("dim_wikimel", {"model.fuser.form": "paper"}, folder=tmp_path, at_least=0.9, resumes=False)
