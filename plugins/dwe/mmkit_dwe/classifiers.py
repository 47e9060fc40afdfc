"""Attribute profiles from image classifiers of transformers, one for each attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image as Pillow
from transformers import AutoModelForImageClassification

from mmkit.annotators.pretrained import annotators_model
from mmkit.pretrained.source import Pretrained
from mmkit_dwe.faces import profile_text

_AT_A_TIME = 32


class Classifiers:
    """Image classifiers by attribute, in the profile's order.

    Raises `PartError` for a model that cannot be loaded or is not an image classifier.
    """

    def __init__(self, names: Mapping[str, str], revisions: Mapping[str, str], device: str = "cpu") -> None:
        self._classifiers = {
            attribute: _Classifier(attribute, name, revisions.get(attribute), device)
            for attribute, name in names.items()
        }

    def __call__(self, pictures: Sequence[Pillow.Image]) -> list[str]:
        """The profile of each image: every attribute's most probable class."""
        told = {attribute: classify(pictures) for attribute, classify in self._classifiers.items()}
        return [profile_text({a: labels[i] for a, labels in told.items()}) for i in range(len(pictures))]


def classification_model(attribute: str, name: str, revision: str | None = None) -> Pretrained:
    """Where the image classifier of an attribute is loaded from."""
    hint = "name an image classification model of the Hub, or the folder of one"
    what, needs = f"the image classifier of {attribute!r}", ("weights", "pictures")
    return annotators_model(what, name, revision, hint, needs, timm=True)


class _Classifier:
    def __init__(self, attribute: str, name: str, revision: str | None, device: str) -> None:
        pretrained = classification_model(attribute, name, revision)
        config: Any = pretrained.config()
        self.processor = pretrained.image_processor()
        network: Any = pretrained.network(AutoModelForImageClassification, config)
        self.labels: Mapping[int, str] = config.id2label
        self.network = network.to(device).eval()

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Pillow.Image]) -> list[str]:
        labels: list[str] = []
        for start in range(0, len(pictures), _AT_A_TIME):
            inputs = self.processor(
                images=list(pictures[start : start + _AT_A_TIME]), return_tensors="pt"
            ).to(self.network.device)
            labels += [self.labels[best] for best in self.network(**inputs).logits.argmax(-1).tolist()]
        return labels
