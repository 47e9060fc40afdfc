"""A zero-shot detector: finds the objects that phrases name in an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as Pillow
from torchvision.ops import nms
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

from mmkit.annotators.pretrained import annotators_model
from mmkit.data.images import whole_pixels
from mmkit.data.types import Box
from mmkit.pretrained.source import Pretrained


@dataclass(frozen=True, slots=True)
class Found:
    """A detected object: its box (pixels), its score (0 to 1), and its phrase."""

    box: Box
    score: float
    phrase: str


def detection_model(name: str, revision: str | None = None) -> Pretrained:
    """Where a zero-shot detector is loaded from."""
    hint = "name a zero-shot object detection model of the Hub, or the folder of one"
    return annotators_model("the detector", name, revision, hint, ("weights", "tokenizer", "pictures"))


class Detector:
    """Any zero-shot detector of transformers (OWL-ViT, OWLv2, Grounding DINO, ...).

    Raises `PartError` for a model that cannot be loaded or is not a zero-shot detector.
    """

    def __init__(self, name: str, revision: str | None = None, device: str = "cpu") -> None:
        pretrained = detection_model(name, revision)
        self.processor = pretrained.processor(AutoProcessor)
        model: Any = pretrained.network(AutoModelForZeroShotObjectDetection)
        self.model = model.to(device).eval()

    @torch.inference_mode()
    def __call__(self, picture: Pillow.Image, phrases: Sequence[str], threshold: float) -> list[Found]:
        """Objects with at least that score, best first, none of which is smaller than a pixel.

        One image at a time: padding to a batch's largest image changes the results of these detectors, and a stored
        result must not depend on other images.
        """
        wanted = [
            phrase.replace(".", "") for phrase in phrases
        ]  # a full stop separates phrases in Grounding DINO
        inputs = self.processor(images=[picture], text=[wanted], truncation=True, return_tensors="pt")
        outputs = self.model(**inputs.to(self.model.device))
        (found,) = self.processor.post_process_grounded_object_detection(
            outputs,
            threshold=threshold,
            target_sizes=[(picture.height, picture.width)],
            text_labels=[wanted],
        )
        boxes = [whole_pixels(box, picture.size) for box in found["boxes"].tolist()]
        objects = [
            Found(box, score, phrase)
            for box, score, phrase in zip(boxes, found["scores"].tolist(), found["text_labels"], strict=True)
            if box is not None
        ]
        return sorted(objects, key=lambda o: (-o.score, o.box))


def most_salient(objects: Sequence[Found], limit: int, overlap: float) -> list[Found]:
    """The best box of each phrase; of those that overlap more than `overlap` (IoU), the better one.

    `objects` are sorted, best first, and so is the result; it holds at most `limit`.
    """
    best: dict[str, Found] = {}
    for found in objects:
        best.setdefault(found.phrase, found)
    candidates = list(best.values())
    if not candidates:
        return []
    boxes = torch.tensor([c.box for c in candidates], dtype=torch.float32)
    kept = nms(boxes, torch.tensor([c.score for c in candidates]), overlap)
    return [candidates[i] for i in sorted(kept.tolist())[:limit]]
