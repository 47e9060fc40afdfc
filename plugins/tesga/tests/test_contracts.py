"""The parts keep their stations' contracts, and the recipes' photos matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkit.batch import Features
from mmkit.testing import (
    ImageEncoder,
    StateFuser,
    WordEncoder,
    check_decoder,
    check_fuser,
    check_metric,
    check_recipe,
)


class Pairs(ImageEncoder):
    """What an encoder of (photo, sentence) pairs gives: four states a pair, the last of which may be padding."""

    provides = frozenset({"tokens", "lengths", "mask"})

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        states = torch.tanh(self.linear(inputs["cells"]))
        lengths = torch.where(inputs["cells"][:, :, 0, 0] > 0, 4, 3)
        real = torch.arange(4) < lengths.unsqueeze(2)
        return {"tokens": states.where(real[..., None], 9.0), "lengths": lengths, "mask": inputs["mask"]}


class Similarity(ImageEncoder):
    """How similar a photo and its sentence are, from 0 to 1."""

    provides = frozenset({"similarity", "mask"})

    def forward(self, inputs: dict[str, Tensor]) -> Features:
        score = torch.sigmoid(self.linear(inputs["cells"]).mean((2, 3)))
        return {"similarity": score.unsqueeze(2), "mask": inputs["mask"]}


@pytest.mark.parametrize("tasks", [["entities", "relations"], ["entities"]])
def test_the_fuser(tasks: list[str]) -> None:
    encoders = {"text": WordEncoder(), "visual": Pairs(slots=1), "similarity": Similarity(slots=1)}
    for encoder in encoders.values():
        encoder.build()
    settings = {"tasks": tasks, "hidden": 8, "heads": 2}
    # Without a photo the pair's states still tell of its sentence: they start the recurrent network.
    check_fuser("tesga.similarity_gated.v1", settings, encoders=encoders, blanks="none")


@pytest.mark.parametrize("tasks", [["entities", "relations"], ["entities"]])
def test_the_tables(tasks: list[str]) -> None:
    check_decoder("tesga.tables.v1", {"tasks": tasks}, fuser=StateFuser(also=tasks))


def test_the_classifier() -> None:
    check_decoder("tesga.relation_classifier.v1", fuser=StateFuser(also=["relations"]))


@pytest.mark.parametrize("settings", [{}, {"match": "string"}])
def test_the_metric(settings: dict[str, Any]) -> None:
    check_metric("tesga.joint_f1.v1", settings)


@pytest.mark.matrix
@pytest.mark.parametrize("recipe", ["tesga_jmere", "tesga_twitter15", "tesga_mnre"])
def test_the_recipes(recipe: str, tmp_path: Path) -> None:
    check_recipe(recipe, folder=tmp_path, at_least=0.9, beats_blank=0.25, resumes=False)
