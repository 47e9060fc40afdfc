"""The recipes: the paper's settings, and one network whose tasks are left out."""

from __future__ import annotations

import pytest

from mmkit.errors import RecipeError
from mmkit.model import fitting_parts
from mmkit.recipe import load_recipe

TASKS = {
    "jmere": ["entities", "relations"],
    "mnre_joint": ["entities", "relations"],
    "twitter15": ["entities"],
    "twitter17": ["entities"],
    "mnre": ["relations"],
}


@pytest.mark.parametrize("dataset", TASKS)
def test_the_papers_settings(dataset: str) -> None:
    recipe = load_recipe(f"tesga_{dataset}")
    training, fuser = recipe.training, recipe.config["model"]["fuser"]
    assert (recipe.seed, training.epochs, training.batch_size, training.clip) == (2023, 60, 16, 0.25)
    assert (training.optimizer, training.learning_rate, training.weight_decay) == ("adam", 3e-5, 0.0)
    assert (training.schedule, training.schedule_every, training.warmup) == ("cosine", "epoch", 5)
    assert training.schedule_offset == 1, "the first epoch runs at a fifth of the rate"
    assert training.groups == {}, "one rate for everything, BERT included"
    assert (fuser["hidden"], fuser["heads"], fuser["dropconnect"]) == (300, 12, 0.1)
    assert fuser["tasks"] == TASKS[dataset]
    losses = ["cross_entropy"] if dataset == "mnre" else TASKS[dataset]
    assert training.loss_weights == dict.fromkeys(losses, 16.0), "the paper sums over a batch"
    fitting_parts(recipe)


def test_a_fuser_without_the_decoders_task_is_refused() -> None:
    recipe = load_recipe("tesga_jmere").with_overrides({"model.fuser.tasks": ["entities"]})
    with pytest.raises(RecipeError, match=r"tesga\.tables\.v1 needs relations"):
        fitting_parts(recipe)


@pytest.mark.parametrize(
    ("part", "setting"),
    [("fuser", {"heads": 0}), ("decoder", {"threshold": 2.0}), ("decoder", {"dropout": 2.0})],
)
def test_settings_that_a_part_refuses_are_told_with_their_section(
    part: str, setting: dict[str, float]
) -> None:
    overrides = {f"model.{part}.{name}": value for name, value in setting.items()}
    with pytest.raises(RecipeError) as error:
        fitting_parts(load_recipe("tesga_jmere", overrides))
    assert error.value.where.endswith(f"tesga_jmere.cfg: [model.{part}]")
