"""Every recipe that comes with mmkit and whose parts say that they can be captured: recorded and replayed on a CPU.

The CRF takes the way that it takes on a GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mmkit.decoders.crf import LinearChainCRF
from mmkit.fit import fitting_parts
from mmkit.inference.loader import Loader
from mmkit.loading.sample import sampled
from mmkit.ops.waiting import without_waiting
from mmkit.recipe import load_recipe
from mmkit.recipe_names import known_recipes
from mmkit.training import ready, updates
from mmkit.training.graphs.captured import MULTIPLE
from mmkit.training.graphs.choice import settings_against, uncaptured
from mmkit.training.graphs.tape import Tape
from mmkit.training.train import train
from runs import equal

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {f.stem: f for files in known_recipes().values() for f in files if f.is_relative_to(ROOT)}
NAMED = ("hvpnet_twitter15", "more_twitter15_text", "text_only_twitter15")
"""Some of those that are captured."""


class Recording(Tape):
    """A tape that counts recordings."""

    count = 0

    def record(self, function):
        self.count += 1
        return super().record(function)


def captured(name: str) -> bool:
    recipe = load_recipe(SHIPPED[name])
    return not [*uncaptured(fitting_parts(recipe)), *settings_against(recipe.training)]


def test_the_recipes_of_the_papers_that_only_tag_are_captured() -> None:
    assert [name for name in NAMED if name in SHIPPED and not captured(name)] == []


@pytest.mark.matrix
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_captured_updates_of_a_recipe_make_its_weights(name: str, tmp_path: Path, monkeypatch) -> None:
    if not captured(name):
        pytest.skip("its updates are not captured")
    tape = Recording()
    monkeypatch.setattr(LinearChainCRF, "_scan", True)
    monkeypatch.setattr(updates, "CudaRecorder", lambda device: tape)
    monkeypatch.setattr(updates, "Loader", lambda *given, multiple: Loader(*given, multiple=MULTIPLE))
    settings = {"training.epochs": 2, "training.eval_from": 1, "training.graphs": "on"}
    recipe = sampled(load_recipe(SHIPPED[name])).with_overrides(settings)
    for folder, wanted in (("plain", False), ("captured", True)):
        monkeypatch.setattr(ready, "wants_graphs", lambda *_, wanted=wanted: (wanted, ""))
        with without_waiting():  # as a GPU computes
            train(recipe, tmp_path / folder, device="cpu", quiet=True)
    assert tape.count
    assert equal(tmp_path / "plain", tmp_path / "captured")
