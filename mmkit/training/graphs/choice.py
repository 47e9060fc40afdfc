"""Whether a training captures its updates, and if not, why: parts, settings, device and processes are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import nn

from mmkit.config.settings import OPTIMIZERS, TrainingSettings
from mmkit.decoders.base import Decoder
from mmkit.encoders.base import Encoder
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.errors import RecipeError
from mmkit.fusers.base import Fuser

SILENT = "it does not say that it can be captured (`captures`)"


class HasParts(Protocol):
    """A model, or a recipe's parts."""

    @property
    def reading(self) -> Mapping[str, Encoder]:
        """The encoders that read examples."""
        ...

    @property
    def fuser(self) -> Fuser: ...
    @property
    def decoder(self) -> Decoder: ...
    @property
    def entity_side(self) -> nn.Module | None: ...


def uncaptured(parts: HasParts, *, trusting: bool = False) -> Iterator[str]:
    """Each part that cannot be captured, and why. With `trusting`, parts that do not say are taken to be able to."""
    sections: dict[str, Encoder | Fuser | Decoder] = {
        f"model.encoders.{name}": encoder for name, encoder in parts.reading.items()
    }
    for section, part in {**sections, "model.fuser": parts.fuser, "model.decoder": parts.decoder}.items():
        able = captures(part)
        if able is not True and not (trusting and not able):
            yield f"{section} ({type(part).__qualname__}): {able or SILENT}"
    if parts.entity_side is not None:
        yield "model.entities: the entities that a mention is compared with are looked up in Python"


def captures(part: Encoder | Fuser | Decoder) -> bool | str:
    """What a part's class says of itself, or why it cannot be captured, which a base class may say.

    Encoders whose features are stored look up rows, whatever their network does.
    """
    if (
        isinstance(part, ItemEncoder)
        and part.frozen
        and part.store
        and type(part).forward is ItemEncoder.forward
    ):
        return True
    said = part.captures
    return said if "captures" in vars(type(part)) or isinstance(said, str) else False


def settings_against(settings: TrainingSettings) -> Iterator[str]:
    """Settings of `[training]` with which updates cannot be captured, and why."""
    if settings.optimizer not in OPTIMIZERS:
        yield f"training.optimizer = {settings.optimizer!r}: only {' and '.join(OPTIMIZERS)} can be captured"
    if settings.compile:
        yield "training.compile = true: compiled encoders compile again for other shapes"


def wants_graphs(
    parts: HasParts, settings: TrainingSettings, device: torch.device, processes: int
) -> tuple[bool, str]:
    """Whether updates are to be captured; if not, a note for the user, empty if there is nothing to say.

    Raises `RecipeError` for `graphs = "on"` with a part or a setting that cannot be captured.
    """
    if settings.graphs == "off":
        return False, ""
    on = settings.graphs == "on"
    found = [*uncaptured(parts, trusting=on), *settings_against(settings)]
    if on and found:
        raise RecipeError(
            "updates cannot be captured in CUDA graphs:\n  " + "\n  ".join(found),
            where='training.graphs = "on"',
            hint='set training.graphs = "auto", which does without where something cannot be captured',
            code="recipe.not-captured",
        )
    if device.type != "cuda":
        return (
            False,
            f'training.graphs = "on" has no effect on {device}: only NVIDIA GPUs have CUDA graphs'
            if on
            else "",
        )
    if processes > 1:
        found.insert(0, f"{processes} processes train together")
    return not found, f"updates are not captured in CUDA graphs: {'; '.join(found)}" if found else ""
