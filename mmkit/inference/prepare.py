"""The checks and computations between an assembled model and its first batch, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mmkit.config.settings import TrainingSettings
from mmkit.data.types import Example
from mmkit.encoders.store import Preparation
from mmkit.inference.features import prepare_entities, prepare_features
from mmkit.loading.split import Progress
from mmkit.model import Item, Model


@dataclass(frozen=True)
class Prepared:
    """The results of `prepare_model`."""

    items: Mapping[str, list[Item]] = field(default_factory=dict)
    """By split."""
    features: Mapping[str, Preparation] = field(default_factory=dict)
    """A report on the stored features of each frozen encoder."""


def prepare_model(
    model: Model,
    splits: Mapping[str, Sequence[Example]],
    settings: TrainingSettings,
    *,
    trained_on: str | None = None,
    note: Callable[[str], None] = lambda message: None,
    progress: Progress | None = None,
) -> Prepared:
    """Make a model, which is on its device, ready for batches of these examples.

    The order is fixed, with quick steps first: the views and the length of every example; examples in the split
    `trained_on` that the decoder refuses and did not report before it was built (see `mmkit.checking.examine`); the
    features of entities; the stored features of examples. `note` gets what a user must know. Raises `DataError` for
    problems that would stop a run.
    """
    items = {name: model.items(examples) for name, examples in splits.items()}
    if trained_on is not None:
        model.decoder.check([item.example for item in items[trained_on]])
    everything = [example for examples in splits.values() for example in examples]
    for message in prepare_entities(model, model.device, settings, progress):
        note(message)
    features = prepare_features(model, everything, model.device, settings, progress)
    for name, report in features.items():
        note(f"model.encoders.{name}: {report}")
    return Prepared(items, features)
