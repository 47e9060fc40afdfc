"""From an authors' checkpoint to a run, with a tiny CLIP in place of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from mmkit.runs.importing import import_checkpoint
from mmkit_dwe.convert import NAMES
from raising import raises

HIDDEN = 16


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WikiMEL's recipe on sample data, with a narrow network."""
    path = tmp_path_factory.mktemp("recipe") / "dwe_wikimel.cfg"
    narrow = sampled(load_recipe("dwe_wikimel")).with_overrides({"model.fuser.hidden": HIDDEN})
    path.write_text(narrow.to_str(), encoding="utf-8")
    return path


def authors_state(width: int) -> dict[str, Tensor]:
    """What the authors' code would have saved of a network of that width of features."""
    torch.manual_seed(0)
    shapes = {
        "in_proj_weight": (3 * HIDDEN, HIDDEN),
        "in_proj_bias": (3 * HIDDEN,),
        "out_proj.weight": (HIDDEN, HIDDEN),
        "0.weight": (HIDDEN, width),
        "1.weight": (width, HIDDEN),
        "1.bias": (width,),
    }
    state = {name: torch.randn(shapes.get(name.partition(".")[2], (HIDDEN,))) for name in NAMES}
    return {**state, "clip_loss.logit_scale": torch.tensor(2.5), "split_trans.0.bias": torch.zeros(3)}


def test_an_authors_checkpoint_becomes_a_run_that_evaluates(recipe: Path, tmp_path: Path) -> None:
    mention = load_recipe(recipe).build("model.encoders.mention")
    mention.build()
    state = authors_state(mention.dim)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "nel_model.pkl")
    run = import_checkpoint("dwe", tmp_path / "nel_model.pkl", tmp_path / "run", recipe=str(recipe))
    weights = run.model().state_dict()
    assert all(torch.equal(weights[ours], state[theirs]) for theirs, ours in NAMES.items())
    assert weights["fuser.log_scale"] == 2.5
    figures, _ = evaluate(run.folder, device="cpu")
    assert 0 <= figures["linking.top1"] <= 1 and figures["linking.recall"] == 1


def test_another_width_is_refused_with_shapes(recipe: Path, tmp_path: Path) -> None:
    torch.save(authors_state(width=7), tmp_path / "nel_model.pkl")
    with raises("run.weights-do-not-fit", match=r"fuser.head.1.bias: \(7,\) in"):
        import_checkpoint("dwe", tmp_path / "nel_model.pkl", tmp_path / "run", recipe=str(recipe))
    with raises("run.not-a-run"):
        Run(tmp_path / "run").model()
