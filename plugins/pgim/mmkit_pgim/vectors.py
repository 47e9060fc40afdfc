"""What posts are compared by: vectors `[N, D]` of text and photo together, from CLIP or from a trained run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmkit import MissingImages, load
from mmkit.data.types import Example, TextView
from mmkit.decoders.tagger import at_positions
from mmkit.encoders.clip_image import ClipImageEncoder
from mmkit.encoders.clip_text import ClipTextEncoder
from mmkit.errors import PartError

Vectors = NDArray[np.float64]


class PostVectors(ABC):
    """Makes vectors of posts; their products are compared."""

    batch_size = 16

    def of(self, posts: Sequence[Example]) -> Vectors:
        """The vectors `[N, D]` of posts."""
        parts = [posts[at : at + self.batch_size] for at in range(0, len(posts), self.batch_size)]
        with torch.inference_mode():
            made = [self.batch(part).double().cpu().numpy() for part in parts]
        return np.concatenate(made)

    @abstractmethod
    def batch(self, posts: Sequence[Example]) -> Tensor:
        """The vectors of a few posts."""


class ClipVectors(PostVectors):
    """CLIP's unit vectors of text and photo, one after the other and divided by √2.

    A product of two is the mean of both cosines. A photo that is absent or cannot be opened is a zero vector.
    """

    def __init__(self, name: str, revision: str | None = None, device: str = "cpu") -> None:
        self.encoders = (
            ClipTextEncoder(name, "sentence", revision=revision, store=False),
            ClipImageEncoder(name, revision=revision, store=False),
        )
        self.device = device
        for encoder in self.encoders:
            encoder.build()
            encoder.to(device).eval()
            encoder.missing = MissingImages("blank")

    def batch(self, posts: Sequence[Example]) -> Tensor:
        views = [{"text": TextView.of(x)} for x in posts]
        found = [
            encoder({name: tensor.to(self.device) for name, tensor in encoder.collate(posts, views).items()})
            for encoder in self.encoders
        ]
        sides = [
            torch.nn.functional.normalize(f["pooled"][:, 0].float(), dim=1) * f["mask"][:, :1] for f in found
        ]
        return torch.cat(sides, dim=1) / 2**0.5


class RunVectors(PostVectors):
    """The mean of the words' states that a trained tagger's fuser gives, as a unit vector: H of the paper.

    A word's state is that of its first subword. Raises `PartError` for a run whose fuser gives no states of words, or
    whose recipe has annotators.
    """

    def __init__(self, run: str, device: str = "cpu") -> None:
        self.run = run
        self.predictor = load(run, device)
        self.predictor.missing_images = "blank"
        if self.predictor.recipe.parts("annotators"):
            raise PartError(
                "the recipe of this run has annotators, so it cannot compare posts",
                where=run,
                hint="name a run of another recipe, such as umt_twitter15",
                code="pgim.run",
            )

    def batch(self, posts: Sequence[Example]) -> Tensor:
        model = self.predictor.model
        batch = model.collate(model.items(posts), targets=False).to(self.predictor.device)
        states = model.states(batch).tensors
        if not {"tokens", "first_subword"} <= states.keys() or len(batch) != len(posts):
            raise PartError(
                "this run has no states of words, so it cannot compare posts",
                where=self.run,
                hint="name a run that tags words, such as one of umt_twitter15",
                code="pgim.run",
            )
        first = states["first_subword"]
        words = at_positions(states["tokens"].float(), first) * (first >= 0).unsqueeze(2)
        return torch.nn.functional.normalize(words.sum(1), dim=1)  # a mean has the same direction


def files_of_run(run: str) -> list[Path]:
    """The files of a run on which its states depend."""
    return [Path(run) / name for name in ("recipe.cfg", "labels.json", "model.safetensors")]
