"""Large photos and a small network: pictures loaded by threads ahead of the network, compared with in its own thread.

    python benchmarks/pictures_ahead.py

Decoding and resizing take most of the time here, as they do where a GPU encodes. First the features of photos are
stored (a small MobileNet), then tweets with these photos are predicted (HVPNeT's sample model, whose features are not
stored). On a CPU both are done with one thread of PyTorch for the network, and with as many as there are cores. With
two cores the ratio is at most 2. Sides take turns; the best round of each counts. The CPU's time is that of all threads
together: it must not grow. All sides must give the same result, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import report
from PIL import Image as Picture
from storing import make_backbone
from torch import Tensor

from mmkit.batch import Features
from mmkit.data.types import Example, Image
from mmkit.encoders.pictures import Pictures
from mmkit.encoders.store import prepare
from mmkit.encoders.threads import cores
from mmkit.encoders.timm_pooled import TimmEncoder
from mmkit.inference.devices import pick_device
from mmkit.inference.inference import Inference
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.model import Item, Model, assemble
from mmkit.recipe import load_recipe

Side = Callable[[], Any]
"""Does the work, and returns what must be the same for all sides."""


class InPlace(Pictures):
    """Pictures that the network's thread decodes when it stacks them."""

    def load(self, raw: Image) -> Any:
        return raw

    def stack(self, loaded: Sequence[Any]) -> Features:
        return super().stack([Pictures.load(self, raw) for raw in loaded])


def make_photos(folder: Path, count: int, width: int) -> list[Image]:
    noise = np.random.default_rng(0)
    photos = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        coarse = noise.integers(0, 256, (75, 100, 3), dtype=np.uint8)
        size = (width, width * 3 // 4)
        Picture.fromarray(coarse).resize(size, Picture.Resampling.BICUBIC).save(path, quality=90)
        photos.append(Image(str(path)))
    return photos


def storing(backbone: Path, photos: Sequence[Image], device: torch.device, threads: int) -> Side:
    """Stores the photos' features in an empty store. With 0 `threads`, the network's thread decodes."""
    encoder = TimmEncoder(str(backbone))
    if not threads:
        encoder.source = InPlace(1)
    encoder.build()
    encoder.to(device).eval()
    posts = [Example.from_tokens(str(n), ["photo"], images=(photo,)) for n, photo in enumerate(photos)]

    def side() -> list[Tensor]:
        encoder.stored = None
        with tempfile.TemporaryDirectory() as cache:
            os.environ["MMKIT_CACHE"] = cache
            prepare(encoder, posts, batch_size=16, threads=threads or 1)
            found = encoder(encoder.collate(posts, [{}] * len(posts)))["pooled"].cpu()
        return [row.clone() for row in found]

    return side


def predicting(model: Model, items: Sequence[Item], threads: int) -> Side:
    """Predicts tweets with their photos."""
    return lambda: Inference(model, "fp32", 16, threads=threads).predict(items)


def tweets(photos: Sequence[Image], device: torch.device) -> tuple[Model, list[Item]]:
    """HVPNeT's sample model, untrained, and a tweet for each photo."""
    recipe = sampled(load_recipe("hvpnet_twitter15"))
    examples = read_splits(recipe, ["train"])["train"].examples
    model = assemble(recipe, examples=examples).to(device).eval()
    shown = [replace(examples[n % len(examples)], images=(photo,)) for n, photo in enumerate(photos)]
    return model, model.items(shown)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and one and isinstance(one[0], Tensor):
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--width", type=int, default=1600, help="of the photos, in pixels")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--network", default="mobilenetv3_small_050.lamb_in1k")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device, most = pick_device(options.device), cores()
    with tempfile.TemporaryDirectory() as folder:
        backbone = Path(folder, "backbone")
        make_backbone(backbone, options.network, 224)
        photos = make_photos(Path(folder), options.photos, options.width)
        model, items = tweets(photos, device)
        works: dict[str, Callable[[int], Side]] = {
            "storing": lambda threads: storing(backbone, photos, device, threads),
            "predicting": lambda threads: predicting(model, items, threads),
        }
        rows = [
            row
            for name, make in works.items()
            for torch_threads in sorted({1, most if device.type == "cpu" else 1})
            for row in compared(name, make, torch_threads, most, len(photos), options.rounds)
        ]
    report("pictures_ahead", rows, **vars(options) | {"device": str(device), "cores": most})


def compared(
    name: str, make: Callable[[int], Side], torch_threads: int, most: int, photos: int, rounds: int
) -> list[dict[str, Any]]:
    """Rows of one work: with 0, with 1 and with `most` threads that load. Raises `SystemExit` if results differ."""
    torch.set_num_threads(torch_threads)
    sides = {threads: make(threads) for threads in sorted({0, 1, most})}
    seconds: dict[int, list[float]] = {threads: [] for threads in sides}
    processor: dict[int, list[float]] = {threads: [] for threads in sides}
    first: Any = None
    for _ in range(rounds):
        for threads, side in sides.items():
            began, spent = time.perf_counter(), time.process_time()
            found = side()
            seconds[threads].append(time.perf_counter() - began)
            processor[threads].append(time.process_time() - spent)
            first = found if first is None else first
            if not same(first, found):
                raise SystemExit(f"{name}: {threads} threads give another result")
    return [
        {
            "work": name,
            "threads of the network": torch_threads,
            "threads that load": threads,
            "photos a second": photos / min(taken),
            "ratio": min(seconds[0]) / min(taken),
            "CPU ms a photo": 1e3 * min(processor[threads]) / photos,
        }
        for threads, taken in seconds.items()
    ]


if __name__ == "__main__":
    main()
