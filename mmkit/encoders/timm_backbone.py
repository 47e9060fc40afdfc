"""timm models as image encoders: made by name, Hub repository or folder; saved; a tiny stand-in."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.pictures import Pictures
from mmkit.encoders.sampling import make_once
from mmkit.errors import MMKitError, PartError
from mmkit.ops.precision import Precision
from mmkit.pretrained.timm_models import FOLDER, TimmModel


class TimmPictures(ItemEncoder):
    """A timm model as an image encoder, with the preprocessing that its weights were trained with.

    `name` is one of timm's (`resnet50.tv_in1k`), `hf-hub:owner/repository`, or a local folder in timm's
    format; `revision` a commit or tag on the Hub. The model is `self.backbone`: its parameters carry timm's
    own names. A missing image is blank: the mean colour, which goes through the network like any other image.
    """

    source: Pictures
    backbone: nn.Module

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        photos: int = 1,
        objects: int = 0,
        frozen: bool = True,
        store: bool = True,
        feature_dtype: Literal["float32", "float16"] = "float32",
        feature_precision: Precision = "fp32",
    ) -> None:
        super().__init__(
            Pictures(photos, objects),
            frozen=frozen,
            store=store,
            feature_dtype=feature_dtype,
            feature_precision=feature_precision,
        )
        self.name, self.revision = name, revision

    @abstractmethod
    def model_options(self) -> dict[str, Any]:
        """How this encoder makes its model: arguments of `timm.create_model`."""

    @abstractmethod
    def measure(self, blank: Tensor) -> int:
        """The width of the features, from a pass over a blank image `[1, 3, H, W]`. Raises `PartError`."""

    def refused(self, model: TimmModel) -> PartError | None:
        """What is wrong with `model_options`. Asked when the model cannot be made with them; None: nothing."""
        return None

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None:
        """Make the model and its preprocessing. Raises `PartError` if the model cannot be loaded."""
        model = TimmModel(self.name, self.revision, saved)
        try:
            self.backbone, self.model_args = model.create(**self.model_options())
        except PartError as error:
            if (refused := self.refused(model)) is not None:
                raise refused from error
            raise
        self.preprocessing = resolve_data_config({}, model=self.backbone)
        size = tuple(self.preprocessing["input_size"])
        transform: Any = create_transform(**self.preprocessing, is_training=False)
        self.source.set_transform(transform, size)
        self.eval()
        with torch.no_grad():
            self.dim = self.measure(torch.zeros(1, *size))
        self.train()
        if self.frozen:
            self.requires_grad_(False)

    def compute(self, items: Features) -> Features:
        """Features of stacked images, with gradients."""
        # with channels last, convolutions on a CPU are 1.4 times as fast, and bf16 on a GPU needs no copies
        pixels = items["pixels"].contiguous(memory_format=torch.channels_last)
        return super().compute({**items, "pixels": pixels})

    def problems(self) -> Iterator[MMKitError]:
        yield from TimmModel(self.name, self.revision).problems()

    def weight_bytes(self) -> int | None:
        return TimmModel(self.name, self.revision).weight_bytes()

    def describe(self) -> dict[str, Any]:
        return {"preprocessing": self.preprocessing, "architecture": self._config()["architecture"]}

    def _config(self) -> dict[str, Any]:
        cfg: dict[str, Any] = {k: v for k, v in self.backbone.pretrained_cfg.items() if v is not None}  # type: ignore[union-attr, operator]
        for private in ("file", "source", "label_names", "label_descriptions", "state_dict"):
            cfg.pop(private, None)
        return {"architecture": cfg["architecture"], "model_args": self.model_args, "pretrained_cfg": cfg}

    def save(self, folder: Path) -> None:
        """Write `config.json` in timm's format."""
        _write_config(folder, self._config())

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save a tiny random ResNet for images of 64×64 pixels, with batch-norm statistics of synthetic ones."""
        make_once(folder, lambda made: _write_sample(made, seed))
        return {"name": str(folder), "revision": None}


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _write_sample(folder: Path, seed: int) -> None:
    args = {"layers": [1, 1, 1, 1], "channels": [16, 32, 48, 64], "zero_init_last": False, "num_classes": 0}
    cfg = {
        "architecture": "resnet18",
        "num_classes": 0,
        "input_size": [3, 64, 64],
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "first_conv": "conv1",
        "classifier": "fc",
    }
    _write_config(folder, {"architecture": "resnet18", "model_args": args, "pretrained_cfg": cfg})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(f"{FOLDER}{folder}", pretrained=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over what it sees
    with torch.no_grad():
        model.train()(_drawn_pictures(seed, 64))
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})


def _drawn_pictures(seed: int, count: int) -> Tensor:
    """Normalised images `[count, 3, 64, 64]` of coloured boxes on coloured ground, with some noise."""
    draw = np.random.default_rng(seed)
    pictures = np.empty((count, 3, 64, 64), dtype=np.float32)
    for picture in pictures:
        picture[:] = draw.uniform(-2, 2, (3, 1, 1))
        for _ in range(draw.integers(1, 5)):
            left, top, width, height = draw.integers(4, 40, 4)
            picture[:, top : top + height, left : left + width] = draw.uniform(-2, 2, (3, 1, 1))
    pictures += draw.normal(0, 0.1, pictures.shape)
    return torch.from_numpy(pictures)
