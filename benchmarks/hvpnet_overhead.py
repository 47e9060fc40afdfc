"""What HVPNeT's fuser and CRF add to an update of the bare text encoder, from stored image features.

    python benchmarks/hvpnet_overhead.py

One model in three forms, which take turns in one process: bert-base alone (its loss is the mean square of its output),
with the visual prefix (the same loss), and with the CRF: the whole model. Each makes an update: forward, backward and
AdamW over the weights that got a gradient. A batch has 8 sentences of 32 subwords, each with a photo and three crops,
whose features are stored. Times are medians (on a CPU, of the process's CPU time); what
is added is the median of each turn's difference to the encoder's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import report, synchronize
from hvpnet_training import BATCH, ROOT, Shape, made_up_vocabulary, make_backbones, make_tweets, padded
from torch import Tensor

from mmkit.batch import Batch, States
from mmkit.data.types import Example
from mmkit.inference.devices import pick_device, pick_precision
from mmkit.inference.features import prepare_features
from mmkit.model import Model, assemble
from mmkit.ops.precision import computing
from mmkit.recipe import load_recipe
from mmkit.training.optimizer import make_optimizer

LENGTH = 32
FORMS = ("encoder", "with fuser", "with fuser and CRF")


def make(folder: Path, shape: Shape, device: torch.device) -> tuple[Model, Any, Batch]:
    """The model with stored features, its recipe, and a batch of sentences of `LENGTH` subwords."""
    make_backbones(folder, shape)
    words = [word for word in shape.vocabulary if word.isalpha()]
    tweets = [
        Example.from_tokens(tweet.id, words[: LENGTH - 2], images=tweet.images, spans=tweet.spans)
        for tweet in make_tweets(folder, shape)
    ]
    recipe = load_recipe(
        ROOT / "recipes" / "hvpnet_twitter15.cfg",
        {
            "model.encoders.text.name": str(folder / "text"),
            "model.encoders.vision.name": str(folder / "vision"),
        },
    )
    model = assemble(recipe, examples=tweets).to(device)
    prepare_features(model, tweets, device, recipe.training, None)
    batch = padded(model.collate(model.items(tweets)), LENGTH, 0)
    return model.train(), recipe, batch.to(device)


def losses(model: Model, batch: Batch) -> dict[str, Callable[[], Tensor]]:
    """The loss of each form."""
    encoders, encoder = model.named_encoders, model.encoders["text"]

    def of(states: States | dict[str, Tensor]) -> Tensor:
        return states["tokens"].float().square().mean()

    return dict(
        zip(
            FORMS,
            (
                lambda: of(encoder(batch.inputs["text"])),
                lambda: of(model.fuser(encoders, batch)),
                lambda: torch.stack(list(model(batch).values())).sum(),
            ),
            strict=True,
        )
    )


def measured(
    folder: Path, shape: Shape, device: torch.device, precision: str, turns: int
) -> list[dict[str, Any]]:
    """A row for each form: milliseconds of an update, and what it adds to the encoder's."""
    model, recipe, batch = make(folder, shape, device)
    optimizer, precision = make_optimizer(model, recipe.training), pick_precision(precision, device, model)
    # a CPU that others use too takes longer, but not more of its own time
    now = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for turn in range(turns + 2):
        for form, loss in losses(model, batch).items():
            synchronize(device)
            start = now()
            with computing(device, precision):
                value = loss()
            value.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            synchronize(device)
            if turn >= 2:  # the first turns warm up
                seconds[form].append(now() - start)
    bare = seconds[FORMS[0]]
    rows = []
    for form, own in seconds.items():
        added = statistics.median(b - a for a, b in zip(bare, own, strict=True))
        rows.append(
            {
                "precision": precision,
                "update of": form,
                "ms": 1e3 * statistics.median(own),
                "added, %": 100 * added / statistics.median(bare),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=15)
    arguments = parser.parse_args()
    device = pick_device("auto")
    shape = Shape(BATCH, vocabulary=made_up_vocabulary())
    rows = []
    for precision in ("fp32", "auto"):
        with tempfile.TemporaryDirectory() as name:
            os.environ["MMKIT_CACHE"] = f"{name}/cache"
            rows += measured(Path(name), shape, device, precision, arguments.turns)
    report("hvpnet_overhead", rows, batch=BATCH, length=LENGTH, turns=arguments.turns)


if __name__ == "__main__":
    main()
