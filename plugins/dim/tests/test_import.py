"""From an authors' checkpoint to a run, with a tiny CLIP in place of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.recipe import load_recipe
from mmkit.runs.importing import import_checkpoint
from mmkit_dim.convert import NAMES
from raising import raises


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WikiMEL's recipe on sample data."""
    path = tmp_path_factory.mktemp("recipe") / "dim_wikimel.cfg"
    path.write_text(sampled(load_recipe("dim_wikimel")).to_str(), encoding="utf-8")
    return path


def authors_state(width: int) -> dict[str, Tensor]:
    """What the authors' code would have saved of a network of that width of features."""
    torch.manual_seed(0)
    square = ("0.weight", "1.weight")
    state = {name: torch.randn((width, width) if name.endswith(square) else width) for name in NAMES}
    return {**state, "img_att.in_proj_bias": torch.zeros(3), "gate.gate.0.bias": torch.zeros(1)}


def test_an_authors_checkpoint_becomes_a_run_that_evaluates(recipe: Path, tmp_path: Path) -> None:
    mention = load_recipe(recipe).build("model.encoders.mention")
    mention.build()
    state = authors_state(mention.dim)
    torch.save(state, tmp_path / "nel_model.pkl")
    run = import_checkpoint("dim", tmp_path / "nel_model.pkl", tmp_path / "run", recipe=str(recipe))
    weights = run.model().state_dict()
    assert all(torch.equal(weights[ours], state[theirs]) for theirs, ours in NAMES.items())
    figures, _ = evaluate(run.folder, device="cpu")
    assert 0 <= figures["linking.top1"] <= 1 and figures["linking.recall"] == 1


def test_the_papers_form_cannot_be_had_from_untrained_tensors(recipe: Path, tmp_path: Path) -> None:
    mention = load_recipe(recipe).build("model.encoders.mention")
    mention.build()
    torch.save(authors_state(mention.dim), tmp_path / "nel_model.pkl")
    with raises("run.weights-do-not-fit", match=r"fuser\.interact"):
        import_checkpoint(
            "dim", tmp_path / "nel_model.pkl", tmp_path / "run", {"model.fuser.form": "paper"}, str(recipe)
        )
