"""Training on texts of 400 subwords: without dropout of attention weights, compared with it.

    python benchmarks/long_texts.py

Both sides make the same updates of an untrained encoder in the shape of MiniLM (12 layers of 384), in batches of 8, in
the precision that `auto` picks. With dropout of attention weights, PyTorch draws a mask for each pair of positions and
keeps all of them for the backward pass; without it, its fused attention keeps none. Each side runs in its own process,
so the peaks of memory are separate, and the best update counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from common import GPU_MEMORY, report, synchronize

from mmkit.data.types import Example, Span
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.model import assemble
from mmkit.ops.precision import computing
from mmkit.recipe import load_recipe
from mmkit.training.optimizer import make_optimizer

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("with", "without")


def make_encoder(folder: Path, hidden: int, layers: int) -> None:
    torch.manual_seed(0)
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    words = {word: at for at, word in enumerate((*special, *(f"word{i}" for i in range(30_517))))}
    transformers.BertTokenizer(vocab=words, model_max_length=512).save_pretrained(folder)
    config = transformers.BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 32),
        intermediate_size=4 * hidden,
    )
    transformers.BertModel(config).save_pretrained(folder)


def one_side(side: str, folder: Path, subwords: int, batch: int, updates: int) -> dict[str, Any]:
    """The best of `updates` updates."""
    device = pick_device("auto")
    texts = [
        Example.from_tokens(
            str(i),
            [f"word{(7 * i + j) % 30_517}" for j in range(subwords - 2 - i)],
            spans=(Span(2, 4, "PER"),),
        )
        for i in range(batch)
    ]
    settings: dict[str, Any] = {
        "model.encoders.text.name": str(folder),
        "model.encoders.text.max_length": 512,
    }
    if side == "without":
        settings["model.encoders.text.attention_dropout"] = 0.0
    recipe = load_recipe(ROOT / "recipes" / "text_only_twitter15.cfg", settings)
    model = assemble(recipe, examples=texts).to(device).train()
    optimizer = make_optimizer(model, recipe.training)
    precision = pick_precision("auto", device, model)
    items = model.items(texts)
    GPU_MEMORY.begin(device)
    seconds = []
    for _ in range(updates):
        began = time.perf_counter()
        with computing(device, precision):
            loss = sum(model(model.collate(items).to(device)).values())
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return {
        "dropout of attention": side,
        "precision": precision,
        "s an update": min(seconds),
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "GPU memory, GiB": GPU_MEMORY.peak(device) / 2**30,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subwords", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        shape = (options.subwords, options.batch, options.updates)
        print(json.dumps(one_side(options.side, options.folder, *shape)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_encoder(Path(folder), options.hidden, options.layers)
        for side in SIDES:
            command = [sys.executable, *sys.argv, "--side", side, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    ratio = rows[0]["s an update"] / rows[1]["s an update"]
    memory = rows[1]["peak memory, GiB"] / rows[0]["peak memory, GiB"]
    facts = {name: getattr(options, name) for name in ("subwords", "batch", "hidden", "layers")}
    report("long_texts", rows, ratio=round(ratio, 2), memory=round(memory, 2), **facts)


if __name__ == "__main__":
    main()
