"""What usually helps when training learns nothing, chosen by what this run shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmkit.config.settings import TrainingSettings
from mmkit.data.types import Example, Prediction
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.model import Item, Model
from mmkit.training.learning import Kind
from mmkit.training.optimizer import group_of

HIGH, LOW = 2e-4, 1e-6
"""Above the first learning rate a pretrained encoder is damaged; below the other, nothing changes."""

USUAL = "2e-5 to 5e-5 is usual for a pretrained text encoder"

RARE = 0.05
"""The share of examples with a label below which labels are few."""

MUCH = 0.5
"""The fraction of images or labels that may be missing before the advice mentions it."""


@dataclass(frozen=True)
class Case:
    """What advice is given from."""

    model: Model
    settings: TrainingSettings
    items: Mapping[str, Sequence[Item]]
    """By split."""
    features: Mapping[str, Mapping[str, int]]
    """By frozen encoder, as `run.json` has it: `items`, and those of them that are `missing` and `broken`."""
    tiny: bool = False
    """Whether the encoders are tiny untrained stand-ins (`--tiny`)."""


def advice(kind: Kind, case: Case) -> list[str]:
    """What to do, the most probable first; never empty."""
    if kind == "loss-explodes":
        found = list(_against_explosion(case))
    else:
        rates = _untrained(case) if case.tiny else _rates(case)
        found = [*_labels(case), *_pictures(case), *_weights(case), *rates]
    rate = case.settings.learning_rate
    general = f"try another training.learning_rate (it is {rate:g}), a third and three times as much"
    return found or [general, "look at the labels, with `mmkit check`"]


def counted(kinds: frozenset[str], x: Example | Prediction, none: str | None) -> int:
    """How many spans, relations and links there are; a relation called `none` is no relation."""
    number = 0
    if "spans" in kinds:
        number += len(x.spans)
    if "relations" in kinds:
        number += sum(relation.label not in (None, none) for relation in x.relations)
    if "links" in kinds:
        number += len(x.links) if isinstance(x, Prediction) else x.entity is not None
    return number


def none_label(model: Model) -> str | None:
    """What the model's decoder calls the absence of a relation, if it has a name for it."""
    return getattr(model.decoder, "none_label", None)


def _labels(case: Case) -> Iterator[str]:
    """Labels that are not there, few, or cut off."""
    finds, none = case.model.decoder.task.finds, none_label(case.model)
    named = " or ".join(sorted(finds)) or "labels"
    for split in ("dev", "train"):
        examples = [item.example for item in case.items.get(split, ())]
        labelled = sum(counted(finds, x, none) > 0 for x in examples)
        if examples and finds and labelled <= RARE * len(examples):
            yield (
                f"{labelled:,} of {len(examples):,} examples in data.{split} have {named}: is this the right file, and "
                "are its labels read?"
            )
    cut = [item for item in case.items.get("train", ()) if any(c.words for c in item.cut.values())]
    if cut and len(cut) > MUCH * len(case.items["train"]):
        yield f"{len(cut):,} training texts are cut off: raise max_length of the text encoder"


def _pictures(case: Case) -> Iterator[str]:
    for name, counts in case.features.items():
        lost = counts["missing"] + counts["broken"]
        if lost > MUCH * counts["items"]:
            yield f"{lost:,} images of model.encoders.{name} are blank: is the folder of images right?"


def _weights(case: Case) -> Iterator[str]:
    """What is not being trained."""
    for name, encoder in case.model.reading.items():
        if encoder.frozen and not isinstance(encoder, ItemEncoder):
            yield f"model.encoders.{name} is frozen: let it be trained (frozen = false), or raise the learning rate"
    weights = case.settings.loss_weights
    if weights and not any(weights.values()):
        yield "all training.loss_weights are 0"


def _rates(case: Case) -> Iterator[str]:
    rates = dict(_learning_rates(case))
    high = {name: rate for name, rate in rates.items() if name and rate > HIGH}
    if high:
        name, rate = next(iter(high.items()))
        yield f"the learning rate of model.encoders.{name} is {rate:g}: lower it ({USUAL})"
    elif rates and max(rates.values()) < LOW:
        yield f"the learning rate is {max(rates.values()):g}: raise it ({USUAL})"


def _untrained(case: Case) -> Iterator[str]:
    yield (
        "the tiny encoders of --tiny are untrained, so they need many updates: raise training.epochs (it is "
        f"{case.settings.epochs})"
    )


def _against_explosion(case: Case) -> Iterator[str]:
    settings = case.settings
    high = " (" + USUAL + ")" if any(name and rate > HIGH for name, rate in _learning_rates(case)) else ""
    yield f"lower training.learning_rate, which is {settings.learning_rate:g}{high}"
    if not settings.clip:
        yield "set training.clip = 1.0"
    if not settings.warmup:
        yield "set training.warmup = 0.1"


def _learning_rates(case: Case) -> Iterator[tuple[str, float]]:
    """(encoder, or empty for the rest; learning rate) of what is trained; only encoders of words are pretrained."""
    words = {name for name, e in case.model.reading.items() if not isinstance(e, ItemEncoder)}
    for name, parameter in case.model.named_parameters():
        if not parameter.requires_grad:
            continue
        group = group_of(name, case.settings)
        own = case.settings.groups[group].learning_rate if group else None
        encoder = name.split(".")[1] if name.startswith("encoders.") else ""
        yield encoder if encoder in words else "", case.settings.learning_rate if own is None else own
