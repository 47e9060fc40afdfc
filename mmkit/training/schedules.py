"""Learning-rate schedules by name: the core's, and those of plugins (`mmkit_schedules`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_scheduler

from mmkit.config.settings import SCHEDULES
from mmkit.errors import RecipeError, did_you_mean
from mmkit.hooks import load_named
from mmkit.recipe import known_schedules

Factor = Callable[[int], float]
"""The factor of the learning rate for the update (or epoch) after `n`."""


def course(name: str, total: int, warmup: int) -> Factor:
    """The schedule called `name` over `total` updates (or epochs); the rate rises during the first `warmup`.

    Raises `RecipeError` for an unknown name.
    """
    if name in SCHEDULES:
        return _of_transformers(name, total, warmup)
    known = known_schedules()
    if name not in known:
        raise RecipeError(
            f"there is no schedule {name!r}",
            where="training.schedule",
            hint=did_you_mean(name, known),
            code="part.setting",
        )
    unloadable = f"the schedule {name!r} cannot be loaded"
    factor: Factor = load_named(unloadable, known[name], code="plugin.schedule")(total, warmup)
    return factor


def _of_transformers(name: str, total: int, warmup: int) -> Factor:
    scheduler = get_scheduler(
        "constant_with_warmup" if name == "constant" else name,
        SGD([torch.zeros(1)]),  # any: the factors alone are wanted
        num_warmup_steps=warmup,
        num_training_steps=total,
    )
    if not isinstance(scheduler, LambdaLR):
        raise TypeError(f"{name} is not a function of the number of updates")
    return scheduler.lr_lambdas[0]
