"""What it costs that encoders of entities are trained: how many entities are encoded again for evaluations."""

from __future__ import annotations

from math import ceil

from mmkit.config.settings import TrainingSettings
from mmkit.entities.side import EntitySide


def encodings_of_all(settings: TrainingSettings, mentions: int, refresh: int) -> int:
    """How often all entities are encoded in a training that is not stopped early; the last time is for its results."""
    last = settings.epochs
    evaluations = len(range(settings.eval_from, last + 1, settings.eval_epochs))
    if settings.eval_every:
        steps = ceil(mentions / settings.batch_size)
        first = (settings.eval_from - 1) * steps
        evaluations += last * steps // settings.eval_every - first // settings.eval_every
    return ceil(evaluations / refresh) + 1


def encoding_cost(
    side: EntitySide | None, entities: int, mentions: int, settings: TrainingSettings
) -> list[str]:
    """A note for the user before a training of `mentions`; none if their encoders are frozen."""
    if side is None or not _trains_encoders(side):
        return []
    times = encodings_of_all(settings, mentions, side.settings.refresh)
    return [
        f"model.entities: its encoders are trained, so all {entities:,} entities are encoded up to {times:,} times "
        f"({times * entities:,} in all, beside the {settings.epochs * mentions:,} mentions of {settings.epochs:,} "
        "epochs and their entities); training.eval_epochs and model.entities.refresh say how often"
    ]


def encoded_again(side: EntitySide) -> list[str]:
    """A note for the user before a training goes on; none if it goes on exactly as without the interruption."""
    refresh = side.settings.refresh
    if refresh == 1 or not side.trained:
        return []
    return [
        f"warning: model.entities.refresh = {refresh}, and entities that were encoded before are in no checkpoint: "
        "they are encoded again now, so later evaluations may score other than without the interruption"
    ]


def _trains_encoders(side: EntitySide) -> bool:
    return not side.lent and any(not encoder.frozen for encoder in side.own_encoders.values())
