"""Scores and losses named in a recipe: those that parts give. Others are refused before data is read."""

from __future__ import annotations

from mmkit.hooks import hookimpl
from mmkit.recipe import load_recipe
from mmkit.training.train import train
from raising import raises


class Started:
    @hookimpl
    def mmkit_run_start(self):
        raise AssertionError("training has begun")


def test_a_score_that_no_metric_gives_is_refused_before_training(sample_recipe, tmp_path):
    with raises("recipe.unknown-score", match=r"spans\.f2.*no") as caught:
        train(
            load_recipe(sample_recipe, {"training.score": "spans.f2"}),
            tmp_path / "run",
            device="cpu",
            hooks=[Started()],
        )
    assert "spans.f1" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_parts_that_do_not_fit_are_refused_before_data_is_read(sample_recipe, tmp_path):
    mistaken = {"model.fuser.text": "words", "data.train.file": "none.txt"}
    with raises("recipe.parts-do-not-fit", match="asks for an encoder named 'words'"):
        train(load_recipe(sample_recipe, mistaken), tmp_path / "run", device="cpu")


def test_a_label_of_its_own_can_be_the_score(sample_recipe, tmp_path):
    overrides = {"training.score": {"spans.f1.PER": 1.0, "spans.f1": 0.5}, "training.epochs": 1}
    facts = train(load_recipe(sample_recipe, overrides), tmp_path / "run", device="cpu")
    assert facts["best_epoch"] == 1


def test_a_weight_of_no_loss_is_refused(sample_recipe, tmp_path):
    overrides = {"training.loss_weights": {"nlll": 2.0}}
    with raises("recipe.unknown-loss", match="nlll") as caught:
        train(load_recipe(sample_recipe, overrides), tmp_path / "run", device="cpu")
    assert "'nll'" in caught.value.hint
