"""The recipes: the paper's settings, and one network whose tasks are left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mmkit.model import fitting_parts
from mmkit.recipe import load_recipe
from mmkit.training.optimizer import Schedule
from raising import raises

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
    schedule = (training.schedule, training.schedule_every, training.warmup)
    assert schedule == ("tesga.cosine.v1", "epoch", 5)
    assert training.groups == {}, "one rate for everything, BERT included"
    assert (fuser["hidden"], fuser["heads"], fuser["dropconnect"]) == (300, 12, 0.1)
    assert fuser["tasks"] == TASKS[dataset]
    losses = ["cross_entropy"] if dataset == "mnre" else TASKS[dataset]
    assert training.loss_weights == dict.fromkeys(losses, 16.0), "the paper sums over a batch"
    fitting_parts(recipe)


def test_the_rate_begins_its_warm_up_above_zero() -> None:
    settings = replace(load_recipe("tesga_jmere").training, learning_rate=1.0)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=settings.learning_rate)
    schedule, rates = Schedule(optimizer, settings, steps_per_epoch=3), []
    for step in range(0, 180, 3):
        schedule.set(step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a > b for a, b in pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("dataset", TASKS)
def test_a_recipe_of_before_is_todays(dataset: str, tmp_path: Path) -> None:
    """The core's metric counted starts then, and its schedule could be ahead."""
    today = load_recipe(f"tesga_{dataset}")
    text = today.to_str().replace("tesga.joint_f1.v1", "mmkit.joint_f1.v1")
    text = text.replace('"tesga.cosine.v1"', '"cosine"\nschedule_offset = 1')
    (tmp_path / "before.cfg").write_text(text, encoding="utf-8")
    assert text != today.to_str()
    assert load_recipe(tmp_path / "before.cfg").config == today.config


def test_an_offset_that_is_not_the_papers_is_refused() -> None:
    with raises("recipe.invalid", match=r"training\.schedule_offset"):
        load_recipe("tesga_jmere", {"training.schedule_offset": 2})
    none = load_recipe("text_only_mnre", {"training.schedule_offset": 0})  # as filled recipes of before say
    assert none.config == load_recipe("text_only_mnre").config


def test_a_fuser_without_the_decoders_task_is_refused() -> None:
    recipe = load_recipe("tesga_jmere").with_overrides({"model.fuser.tasks": ["entities"]})
    with raises("recipe.parts-do-not-fit", match=r"tesga\.tables\.v1 needs relations"):
        fitting_parts(recipe)


@pytest.mark.parametrize(
    ("part", "setting"),
    [("fuser", {"heads": 0}), ("decoder", {"threshold": 2.0}), ("decoder", {"dropout": 2.0})],
)
def test_settings_that_a_part_refuses_are_told_with_their_section(
    part: str, setting: dict[str, float]
) -> None:
    overrides = {f"model.{part}.{name}": value for name, value in setting.items()}
    with raises("part.setting") as error:
        fitting_parts(load_recipe("tesga_jmere", overrides))
    assert error.value.where.endswith(f"tesga_jmere.cfg: [model.{part}]")
