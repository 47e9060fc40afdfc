"""A training step of MoRe: length buckets and bf16 beside padding all texts to 512 subwords, as ratios.

    python benchmarks/more_training.py [--preset large]

All sides train the recipe `more_twitter15_text` (two views, CRF, batch 4) with an XLM-R of random weights, on posts of
about 16 words with contexts of 0 to 400 words, about 1.4 subwords a word:

- `padded, fp32`: batches at random, padded to 512 subwords, in float32;
- `longest, fp32`: batches at random, padded to their longest text;
- `buckets, fp32` and `buckets, bf16`: mmkit's batches of like lengths.

Only the view with context is padded further; the plain one is short on all sides. Each side runs in a process of
its own, so that its peak memory is its own; the sides take turns, and a ratio is the median of theirs. On a CPU one
thread computes, and its processor time is measured, which other work on the machine does not stretch. `--preset small`
(4 layers, 256 wide) is for a CPU, `large` is xlm-roberta-large's shape.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from common import GPU_MEMORY, report, synchronize
from torch.nn import functional as F

from mmkit.batch import Batch
from mmkit.data.types import Example, Span
from mmkit.inference.devices import pick_device
from mmkit.model import Item, Model, assemble
from mmkit.ops.precision import computing
from mmkit.recipe import load_recipe
from mmkit.training.batches import plan_epoch
from mmkit.training.optimizer import make_optimizer

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 512
SIDES = ("padded, fp32", "longest, fp32", "buckets, fp32", "buckets, bf16")
PRESETS: dict[str, dict[str, int]] = {
    "small": {"layers": 4, "width": 256, "vocabulary": 6_000, "posts": 48},
    "large": {"layers": 24, "width": 1024, "vocabulary": 250_002, "posts": 1024},
}
STEMS, ENDINGS = 4_000, 1_000
FILLS = {"input_ids": 1, "attention_mask": 0, "token_type_ids": 0, "word_index": -1}


def make_backbone(folder: Path, preset: dict[str, int], device: torch.device | str = "cpu") -> None:
    """An untrained XLM-R, and a tokenizer of which a word is one piece, or two with an ending."""
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    stems = [(f"▁w{i:04}", -5.0) for i in range(STEMS)]
    endings = [(f"q{i:03}", -5.0) for i in range(ENDINGS)]
    other = [("▁", -8.0), *((c, -9.0) for c in "<EOS>wq0123456789" if c != "S"), ("S", -9.0), ("<mask>", 0.0)]
    pieces = list(dict.fromkeys([*special, *stems, *endings, *other]))
    transformers.XLMRobertaTokenizer(vocab=pieces, model_max_length=LIMIT).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.XLMRobertaConfig(
        vocab_size=preset["vocabulary"],
        hidden_size=preset["width"],
        num_hidden_layers=preset["layers"],
        num_attention_heads=preset["width"] // 64,
        intermediate_size=4 * preset["width"],
        max_position_embeddings=LIMIT + 2,
        type_vocab_size=1,
    )
    with torch.device(device):  # a GPU draws the weights of a large one at once
        model = transformers.XLMRobertaModel(config)
    model.save_pretrained(folder)


def make_posts(count: int) -> list[Example]:
    """Posts of real lengths with contexts of 0 to 400 words."""
    draw = random.Random(0)

    def words(number: int) -> list[str]:
        endings = ((f"q{draw.randrange(ENDINGS):03}" if draw.random() < 0.4 else "") for _ in range(number))
        return [f"w{draw.randrange(STEMS):04}{ending}" for ending in endings]

    posts = []
    for number in range(count):
        sentence = words(min(40, max(5, round(draw.gauss(16, 6)))))
        span = Span(2, 4, draw.choice(("PER", "LOC", "ORG", "MISC")))
        notes = {"more.text_context": " ".join(words(draw.randint(0, 400)))}
        posts.append(Example.from_tokens(str(number), sentence, spans=(span,), notes=notes))
    return posts


def batches(model: Model, items: list[Item], side: str, size: int, bucket: int) -> Iterator[Batch]:
    """An epoch's batches in one side's way."""
    bucket = bucket if side.startswith("buckets") else 1
    for chosen in plan_epoch([item.length for item in items], size, 0, 1, bucket):
        batch = model.collate([items[i] for i in chosen])
        if side.startswith("padded"):
            text = batch.inputs["text"]
            missing = LIMIT - text["input_ids"].shape[1]
            text |= {k: F.pad(text[k], (0, missing), value=fill) for k, fill in FILLS.items() if k in text}
        yield batch


def one_side(
    side: str, folder: Path, preset: dict[str, int], device: torch.device, warm_up: int = 1
) -> dict[str, Any]:
    """Train one epoch, after `warm_up` updates of the longest texts. The backbone is in `folder`.

    On a CPU, run it in a process of its own, so that peak memory and the number of threads are its own.
    """
    GPU_MEMORY.begin(device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    posts = make_posts(preset["posts"])
    recipe = load_recipe(
        ROOT / "recipes" / "more_twitter15_text.cfg", {"model.encoders.text.name": str(folder)}
    )
    model = assemble(recipe, examples=posts).to(device).train()
    optimizer = make_optimizer(model, recipe.training)
    plan = list(batches(model, model.items(posts), side, recipe.training.batch_size, recipe.training.bucket))
    masks = [
        batch.inputs["text"][name] for batch in plan for name in ("attention_mask", "plain:attention_mask")
    ]
    real, computed = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)

    def update(batch: Batch) -> None:
        with computing(device, side.rpartition(" ")[2]):
            losses = model(batch.to(device))
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    longest = max(plan, key=lambda batch: batch.inputs["text"]["input_ids"].numel())
    for _ in range(warm_up):
        update(longest)
    synchronize(device)
    start = clock()
    for batch in plan:
        update(batch)
    synchronize(device)
    seconds = clock() - start
    return {
        "side": side,
        "sentences/s": len(posts) / seconds,
        "subwords/s": real / seconds,
        "s an update": seconds / len(plan),
        "padding": 1 - real / computed,
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "GPU memory, GiB": GPU_MEMORY.peak(device) / 2**30,
    }


def main() -> None:
    """Run all sides by turns and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    preset = PRESETS[arguments.preset]
    if arguments.side:
        print(json.dumps(one_side(arguments.side, arguments.folder, preset, pick_device("auto"))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        make_backbone(Path(name), preset)
        for _ in range(arguments.rounds):
            for side in SIDES:
                command = [
                    sys.executable,
                    __file__,
                    "--preset",
                    arguments.preset,
                    "--side",
                    side,
                    "--folder",
                    name,
                ]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
    speeds = {side: [row["sentences/s"] for row in rows if row["side"] == side] for side in SIDES}
    ratios = {
        side: round(statistics.median(a / b for a, b in zip(speeds[side], speeds[SIDES[0]], strict=True)), 2)
        for side in SIDES[1:]
    }
    report("more_training", rows, preset=arguments.preset, **preset, batch=4, ratios=ratios)
    for side, ratio in ratios.items():
        print(f"{side}: {ratio} × as fast as {SIDES[0]}")


if __name__ == "__main__":
    main()
