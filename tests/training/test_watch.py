"""What is no longer finite is noticed, in the losses and in the weights alike."""

from __future__ import annotations

import json
import math

import pytest
import torch
from accelerate import Accelerator

from mmkit.training.loop import Update
from mmkit.training.watch import Watch
from raising import raises


def update(step: int, loss: float, *examples: str) -> Update:
    value = torch.tensor(loss)
    return Update(1, step, False, examples, {"nll": value}, 2 * value)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_is_noticed_while_losses_are(accelerator, broken):
    weights = [torch.zeros(3, requires_grad=True), torch.ones(2, 2, requires_grad=True)]
    watch = Watch(accelerator, weights)
    watch.add(update(1, 0.5, "a", "b"))
    watch.check()
    weights[1].data[0, 1] = broken
    watch.add(update(2, 0.5, "c"))
    watch.add(update(3, 0.5, "d"))
    with raises("training.not-finite", match="2 and 3") as caught:
        watch.check()
    assert caught.value.where == "examples c, d"  # those of before led to weights that were finite


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_noticed_among_others(accelerator, broken):
    watch = Watch(accelerator, [torch.ones(2)])
    for step, loss in enumerate((0.5, broken, 0.5), start=7):
        watch.add(update(step, loss, str(step)))
    with raises("training.not-finite", match="7 and 9"):
        watch.check()


def test_nothing_new_is_nothing_to_check(accelerator):
    watch = Watch(accelerator, [torch.tensor([math.nan])])
    watch.check()


def test_the_log_gets_means_over_updates_since_the_last_look(accelerator):
    watch = Watch(accelerator, [torch.ones(2)])
    watch.add(update(1, 1.0, "a", "b"))
    watch.add(update(2, 2.0, "c"))
    first = watch.figures()
    assert first["nll"] == 1.5 and first["loss"] == 3.0 and first["examples_per_second"] > 0
    watch.add(update(3, 5.0, "d"))
    assert watch.figures()["nll"] == 5.0


def test_a_watch_that_goes_on_gives_the_figures_of_one_that_was_not_stopped(accelerator):
    losses = [0.1, 0.7, 1.3, 0.2, 0.9]
    whole, first = Watch(accelerator, [torch.ones(2)]), Watch(accelerator, [torch.ones(2)])
    for step, loss in enumerate(losses):
        whole.add(update(step, loss, str(step)))
        if step < 2:
            first.add(update(step, loss, str(step)))
    state = json.loads(json.dumps(first.state()))
    assert (state["updates"], state["examples"]) == (2, 2)
    second = Watch(accelerator, [torch.ones(2)], state)
    for step, loss in enumerate(losses[2:], 2):
        second.add(update(step, loss, str(step)))
    expected, found = whole.figures(), second.figures()
    assert expected.pop("examples_per_second") > 0 and found.pop("examples_per_second") > 0
    assert found == expected
    assert second.state()["sums"] == {} and second.state()["updates"] == 0


def test_nothing_logged_is_nothing_to_go_on_from(accelerator):
    watch = Watch(accelerator, [torch.ones(2)], Watch(accelerator, [torch.ones(2)]).state())
    watch.add(update(1, 2.0, "a"))
    assert watch.figures()["nll"] == 2.0
