"""A recipe trained for a moment on its sample, and what its parts show of test examples."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import mmkit
from mmkit.data.types import Example, Prediction
from mmkit.inspection import Inspection

Shown = list[tuple[Example, Prediction, Inspection]]


def inspected_sample(name: str, folder: Path, number: int = 8) -> tuple[mmkit.Predictor, Shown]:
    """The loaded run, and the first test examples as `Predictor.inspect` gives them.

    Fails if predictions are not those of `predict_batch`.
    """
    recipe = mmkit.sampled(name).with_overrides({"training.epochs": 1})
    mmkit.train(recipe, folder, device="cpu", quiet=True)
    model = mmkit.load(folder, device="cpu")
    examples = list(islice(model.recipe.build("data.test"), number))
    shown = list(model.inspect(examples))
    assert [prediction for _, prediction, _ in shown] == model.predict_batch(examples)
    return model, shown
