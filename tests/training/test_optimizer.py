"""Parameter groups and schedules."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmkit.config.settings import GroupSettings, TrainingSettings
from mmkit.hooks import hookimpl, registered
from mmkit.training import schedules
from mmkit.training.optimizer import Schedule, make_optimizer
from raising import raises


def model() -> nn.Module:
    return nn.ModuleDict({"encoder": nn.Linear(3, 3), "decoder": nn.Linear(3, 2), "frozen": nn.Linear(2, 2)})


def rates(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, tuple[float, float]]:
    names = {p: n for n, p in network.named_parameters()}
    return {names[p]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}


def test_groups_by_pattern_first_match_wins():
    network = model()
    network["frozen"].requires_grad_(False)
    settings = TrainingSettings(
        learning_rate=1e-5,
        weight_decay=0.1,
        no_decay="bias",
        groups={
            "head": GroupSettings(pattern=r"^decoder\.", learning_rate=0.05),
            "all": GroupSettings(pattern=".", weight_decay=0.2),
        },
    )
    assert rates(make_optimizer(network, settings), network) == {
        "encoder.weight": (1e-5, 0.2),
        "encoder.bias": (1e-5, 0.0),
        "decoder.weight": (0.05, 0.1),
        "decoder.bias": (0.05, 0.0),
    }


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_is_the_one_named_with_its_betas(name, kind):
    optimizer = make_optimizer(model(), TrainingSettings(optimizer=name, betas=[0.8, 0.95]))
    assert type(optimizer) is kind
    assert all(group["betas"] == (0.8, 0.95) for group in optimizer.param_groups)


def test_a_group_that_matches_nothing_is_an_error_with_names():
    with raises("recipe.idle-group", match=r"training\.groups\.crf") as caught:
        make_optimizer(model(), TrainingSettings(groups={"crf": GroupSettings(pattern="crf")}))
    assert "decoder.weight" in caught.value.hint


def test_nothing_to_train_is_an_error():
    with raises("recipe.nothing-to-train"):
        make_optimizer(model().requires_grad_(False), TrainingSettings())


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_schedule_depends_on_the_step_alone(schedule):
    network = model()
    settings = TrainingSettings(epochs=4, schedule=schedule, warmup=0.25, learning_rate=1.0)
    optimizer = make_optimizer(network, settings)
    course = Schedule(optimizer, settings, steps_per_epoch=5)

    def rate(step: int) -> float:
        course.set(step)
        return optimizer.param_groups[0]["lr"]

    forward = [rate(step) for step in range(20)]
    assert [rate(step) for step in reversed(range(20))] == forward[::-1]
    assert forward[0] == 0.0 and forward[5] == max(forward) == 1.0
    assert forward[19] == (1.0 if schedule == "constant" else pytest.approx(forward[19]))
    assert schedule == "constant" or forward[19] < 0.1


def test_a_schedule_by_epoch_is_flat_within_one():
    network = model()
    settings = TrainingSettings(epochs=4, schedule="linear", schedule_every="epoch", learning_rate=1.0)
    optimizer = make_optimizer(network, settings)
    course = Schedule(optimizer, settings, steps_per_epoch=3)
    seen = []
    for step in range(12):
        course.set(step)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1.0] * 3 + [0.75] * 3 + [0.5] * 3 + [0.25] * 3


def test_a_plugin_brings_a_schedule():
    class Plugin:
        @hookimpl
        def mmkit_schedules(self):
            return {"mine.stairs.v1": f"{__name__}:stairs"}

    settings = TrainingSettings(epochs=3, schedule="mine.stairs.v1", warmup=1, learning_rate=0.5)
    optimizer = make_optimizer(nn.Linear(2, 2), settings)
    with raises("part.setting", match=r"'mine\.stairs\.v1'"):
        Schedule(optimizer, settings, steps_per_epoch=2)
    with registered(Plugin()), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, __name__, SimpleNamespace(stairs=stairs))
        schedule = Schedule(optimizer, settings, steps_per_epoch=2)
    seen = []
    for step in (0, 3, 5):
        schedule.set(step)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [3.0, 4.5, 5.5]


def test_a_plugin_brings_an_optimizer():
    class Plugin:
        @hookimpl
        def mmkit_optimizers(self):
            return {"mine.sgd.v1": f"{__name__}:Plain"}

    network = nn.Linear(2, 2)
    settings = TrainingSettings(optimizer="mine.sgd.v1", learning_rate=0.5, weight_decay=0.1, no_decay="bias")
    with raises("part.setting", match=r"'mine\.sgd\.v1'"):
        make_optimizer(network, settings)
    with registered(Plugin()), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, __name__, SimpleNamespace(Plain=Plain))
        optimizer = make_optimizer(network, settings)
    assert isinstance(optimizer, Plain) and optimizer.given_betas == (0.9, 0.999)
    assert rates(optimizer, network) == {"weight": (0.5, 0.1), "bias": (0.5, 0.0)}


def test_what_a_plugin_cannot_load_is_one_message():
    class Plugin:
        @hookimpl
        def mmkit_optimizers(self):
            return {"mine.sgd.v1": "mine_gone:Plain"}

        @hookimpl
        def mmkit_schedules(self):
            return {"mine.stairs.v1": "math:stairs"}

    with registered(Plugin()):
        with raises("plugin.optimizer", match=r"'mine\.sgd\.v1' cannot be loaded: .*mine_gone"):
            make_optimizer(nn.Linear(2, 2), TrainingSettings(optimizer="mine.sgd.v1"))
        with raises("plugin.schedule", match=r"'mine\.stairs\.v1' cannot be loaded: .*stairs"):
            schedules.course("mine.stairs.v1", 3, 0)


class Plain(torch.optim.SGD):
    """Plain gradient descent, which keeps what it was given."""

    def __init__(self, groups, betas):
        super().__init__(groups)
        self.given_betas = betas


def stairs(total: int, warmup: int):
    assert (total, warmup) == (6, 1)
    return lambda n: float(n + total)
