"""Optimizer and schedule of `[training]`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmkit.config.settings import OPTIMIZERS, TrainingSettings
from mmkit.errors import RecipeError, did_you_mean
from mmkit.hooks import load_named
from mmkit.ops.sharded import is_sharded
from mmkit.recipe import known_optimizers
from mmkit.training.schedules import course


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """An optimizer over the trainable parameters, grouped by the patterns of `training.groups` (first match wins).

    Raises `RecipeError` for a group that matches nothing, and for an unknown optimizer.
    """
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    matched = dict.fromkeys(settings.groups, False)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate, decay = settings.learning_rate, settings.weight_decay
        if key := group_of(name, settings):
            group, matched[key] = settings.groups[key], True
            rate = rate if group.learning_rate is None else group.learning_rate
            decay = decay if group.weight_decay is None else group.weight_decay
        if settings.no_decay and re.search(settings.no_decay, name):
            decay = 0.0
        # no fused kernel takes tensors that are spread over processes and others at once
        groups.setdefault((rate, decay, is_sharded(parameter)), []).append(parameter)
    idle = [key for key, hit in matched.items() if not hit]
    if idle:
        raise RecipeError(
            "no trainable parameter is left for the pattern of "
            + ", ".join(f"training.groups.{k}" for k in idle),
            hint="names look like "
            + ", ".join(_some_names(n for n, p in model.named_parameters() if p.requires_grad)),
            code="recipe.idle-group",
        )
    if not groups:
        raise RecipeError(
            "nothing to train: every parameter is frozen",
            hint="unfreeze an encoder",
            code="recipe.nothing-to-train",
        )
    first, second = settings.betas
    return _maker(settings.optimizer)(
        [{"params": p, "lr": rate, "weight_decay": decay} for (rate, decay, _), p in groups.items()],
        betas=(first, second),
    )


def group_of(parameter: str, settings: TrainingSettings) -> str | None:
    """The name of the first of `training.groups` whose pattern matches a parameter's name; None if none does."""
    return next((key for key, group in settings.groups.items() if re.search(group.pattern, parameter)), None)


def _maker(name: str) -> Callable[..., Optimizer]:
    """The optimizer called `name`, from the core or from a plugin (`mmkit_optimizers`)."""
    if name in OPTIMIZERS:
        return partial(torch.optim.AdamW if name == "adamw" else torch.optim.Adam, fused=True)
    known = known_optimizers()
    if name not in known:
        raise RecipeError(
            f"there is no optimizer {name!r}",
            where="training.optimizer",
            hint=did_you_mean(name, [*OPTIMIZERS, *known]),
            code="part.setting",
        )
    unloadable = f"the optimizer {name!r} cannot be loaded"
    maker: Callable[..., Optimizer] = load_named(unloadable, known[name], code="plugin.optimizer")
    return maker


def _some_names(names: Iterable[str]) -> list[str]:
    """One parameter of each module, two levels deep."""
    return list({".".join(name.split(".")[:2]): name for name in names}.values())[:8]


class Schedule:
    """The learning rate as a function of the number of updates, so that resuming needs only this number."""

    def __init__(self, optimizer: Optimizer, settings: TrainingSettings, steps_per_epoch: int) -> None:
        self.per_epoch = settings.schedule_every == "epoch"
        self.steps_per_epoch = max(1, steps_per_epoch)
        total = settings.epochs if self.per_epoch else settings.epochs * self.steps_per_epoch
        warmup = settings.warmup * total if settings.warmup < 1 else settings.warmup
        self.factor = course(settings.schedule, total, math.ceil(warmup))
        self.optimizer, self.rates = optimizer, [float(group["lr"]) for group in optimizer.param_groups]
        self.now = list(self.rates)
        """The rates of the current update, by group."""

    def set(self, step: int) -> None:
        """Set the rates for the update that follows `step` updates. Rates that are tensors are written in place."""
        factor = self.factor(step // self.steps_per_epoch if self.per_epoch else step)
        self.now = [rate * factor for rate in self.rates]
        for group, rate in zip(self.optimizer.param_groups, self.now, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
