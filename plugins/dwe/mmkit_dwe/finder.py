"""Objects with certain labels in images: object detectors and instance segmenters of transformers."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image as Pillow
from torch import Tensor
from torchvision.ops import masks_to_boxes
from transformers import (
    AutoModelForObjectDetection,
    AutoModelForUniversalSegmentation,
)

from mmkit.annotators.pretrained import annotators_model
from mmkit.data.images import whole_pixels
from mmkit.data.types import Box
from mmkit.errors import PartError, did_you_mean
from mmkit.pretrained.source import Pretrained

Task = Literal["auto", "detection", "segmentation"]

SEGMENTERS = ("detr", "mask2former", "maskformer")
MASK_SIDE = 640
"""Masks are made for images of at most this many pixels on a side: every query has one, in float32."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object in an image: its box (whole pixels), its score (0 to 1), and its label."""

    box: Box
    score: float
    label: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as a model's input (tensors with a batch dimension of 1), and its own width and height."""

    inputs: Mapping[str, Tensor]
    size: tuple[int, int]

    @property
    def shape(self) -> tuple[torch.Size, ...]:
        return tuple(tensor.shape for tensor in self.inputs.values())


def finding_model(name: str, revision: str | None = None) -> Pretrained:
    """Where an object detector or instance segmenter is loaded from."""
    hint = "name an object detection or instance segmentation model of the Hub, or the folder of one"
    return annotators_model("the detector", name, revision, hint, ("weights", "pictures"))


class Finder:
    """An object detector or an instance segmenter of transformers that finds objects with some labels.

    With "auto", the configuration's architecture decides which of the two a model is. A segmenter's mask gives the
    box around it. Raises `PartError` for a model that cannot be loaded or is neither, and for labels that it does not
    know.
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str],
        *,
        revision: str | None = None,
        task: Task = "auto",
        device: str = "cpu",
    ) -> None:
        pretrained = finding_model(name, revision)
        config: Any = pretrained.config()
        self.segments = _segments(config, task)
        if self.segments and config.model_type not in SEGMENTERS:
            what = f"{name!r} is a {config.model_type} model, which is not known to segment instances"
            raise PartError(what, hint=f"use one of {', '.join(SEGMENTERS)}", code="part.model-unloadable")
        self.processor = pretrained.image_processor()
        kind = AutoModelForUniversalSegmentation if self.segments else AutoModelForObjectDetection
        network: Any = pretrained.network(kind, config)
        self.model = network.to(device).eval()
        self.labels = _known(labels, config.id2label, name)

    def prepare(self, picture: Pillow.Image) -> Prepared:
        """An image, scaled and normalised separately: the result does not depend on other images."""
        inputs = self.processor(images=[picture], return_tensors="pt")
        return Prepared({k: v for k, v in inputs.items() if isinstance(v, Tensor)}, picture.size)

    def __call__(self, pictures: Sequence[Prepared], threshold: float, limit: int = 8) -> list[list[Found]]:
        """The objects in each image, best first, with at least that score and a pixel.

        Images whose inputs have the same shape go through the model together, at most `limit` of them: padding would
        change the results.
        """
        found: list[list[Found]] = [[] for _ in pictures]
        for members in _stacks([p.shape for p in pictures], limit):
            things = self._find([pictures[i] for i in members], threshold)
            for i, own in zip(members, things, strict=True):
                found[i] = sorted(own, key=lambda f: (-f.score, f.box))
        return found

    @torch.inference_mode()
    def _find(self, pictures: Sequence[Prepared], threshold: float) -> list[list[Found]]:
        stacked = {key: torch.cat([p.inputs[key] for p in pictures]) for key in pictures[0].inputs}
        outputs = self.model(**{key: tensor.to(self.model.device) for key, tensor in stacked.items()})
        # Segmenters' postprocessing mixes tensors of its own, on the CPU, with the outputs.
        outputs = type(outputs)(**{k: v.cpu() for k, v in outputs.items() if isinstance(v, Tensor)})
        read = self._segmented if self.segments else self._detected
        return read(outputs, [p.size for p in pictures], threshold)

    def _detected(
        self, outputs: Any, sizes: Sequence[tuple[int, int]], threshold: float
    ) -> list[list[Found]]:
        results = self.processor.post_process_object_detection(
            outputs, threshold=threshold, target_sizes=[(height, width) for width, height in sizes]
        )
        return [
            self._wanted(r["boxes"].tolist(), r["scores"].tolist(), r["labels"].tolist(), size)
            for r, size in zip(results, sizes, strict=True)
        ]

    def _segmented(
        self, outputs: Any, sizes: Sequence[tuple[int, int]], threshold: float
    ) -> list[list[Found]]:
        post = self.processor.post_process_instance_segmentation
        # Masks may overlap, and one map of all segments would hide parts of some.
        separate = {"return_binary_maps": True} if _takes(post, "return_binary_maps") else {}
        small = [_reduced(size) for size in sizes]
        results = post(
            outputs,
            threshold=threshold,
            target_sizes=[(height, width) for width, height in small],
            **separate,
        )
        found = []
        for result, size, (width, height) in zip(results, sizes, small, strict=True):
            segments = result["segments_info"]
            boxes = _mask_boxes(result["segmentation"], [s["id"] for s in segments])
            boxes = boxes * torch.tensor([size[0] / width, size[1] / height]).repeat(2)
            scores, labels = [s["score"] for s in segments], [s["label_id"] for s in segments]
            found.append(self._wanted(boxes.tolist(), scores, labels, size))
        return found

    def _wanted(
        self, boxes: list[Any], scores: list[float], labels: list[int], size: tuple[int, int]
    ) -> list[Found]:
        """The objects with one of the labels that contain a pixel of an image of `size`."""
        return [
            Found(pixels, score, self.labels[label])
            for box, score, label in zip(boxes, scores, labels, strict=True)
            if label in self.labels and (pixels := whole_pixels(box, size)) is not None
        ]


def _segments(config: Any, task: Task) -> bool:
    if task != "auto":
        return task == "segmentation"
    return any("Segmentation" in architecture for architecture in config.architectures or ())


def _known(labels: Sequence[str], names: Mapping[int, str], model: str) -> dict[int, str]:
    """The model's classes among `labels`, by number; case does not matter."""
    known = {str(name).lower(): (int(number), str(name)) for number, name in names.items()}
    for label in labels:
        if label.lower() not in known:
            raise PartError(
                f"{model!r} knows no label {label!r}",
                hint=did_you_mean(label.lower(), known),
                code="dwe.unknown-label",
            )
    return dict(known[label.lower()] for label in labels)


def _stacks(shapes: Sequence[tuple[torch.Size, ...]], limit: int) -> Iterator[list[int]]:
    """Positions of equal shapes, at most `limit` together."""
    groups = defaultdict(list)
    for i, shape in enumerate(shapes):
        groups[shape].append(i)
    for members in groups.values():
        for start in range(0, len(members), limit):
            yield members[start : start + limit]


def _mask_boxes(segmentation: Tensor, ids: Sequence[int]) -> Tensor:
    """Boxes `[N, 4]`, right and bottom exclusive, from masks `[N, H, W]` or a map `[H, W]` of ids."""
    if not ids:
        return torch.zeros(0, 4)
    masks = segmentation
    if masks.dim() == 2:
        masks = segmentation == torch.tensor(ids, device=segmentation.device)[:, None, None]
    boxes: Tensor = masks_to_boxes(masks > 0) + torch.tensor([0.0, 0.0, 1.0, 1.0])
    return boxes


def _reduced(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height scaled to at most `MASK_SIDE`."""
    scale = min(1.0, MASK_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _takes(function: Any, argument: str) -> bool:
    return argument in inspect.signature(function).parameters
