"""DWE's or DIM's training at WikiMEL's size, from stored features: mmkit beside a loop that reads them per example.

    python benchmarks/dwe_training.py [--paper dim]

There are 18,000 mentions and 17,000 entities, features are 512 wide, and a batch has 128 mentions (64 for DIM). Images
and texts are not real: this measures how features come to the network, and both sides train the same layers.

- `mmkit` runs the recipe's own loop. A batch's features are read from tables, and its negatives are chosen on the
  device.
- `per example` does what the authors' code does. Each item of the dataset reads its own features (an entity's from an
  HDF5 file, a mention's from a list) and chooses its negative in Python. Batches are padded and stacked row by row.

Each side runs in its own process. The sides take turns, and the ratio is the median of the turns' ratios. Beside the
times, one epoch of each side is profiled: which share of an update are matrix products, which dropout, the optimizer,
and all the rest. What the products of our layers alone take is the time that no reading can go below.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import GPU_MEMORY, report, synchronize
from dwe_per_example import WIDTH, train_per_example
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example, Image, Mention
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.inference.devices import make_accelerator, pick_device, pick_precision
from mmkit.inference.features import prepare_entities, prepare_features
from mmkit.inference.loader import Loader
from mmkit.model import Model
from mmkit.model_entities import build_entity_side, entity_side
from mmkit.recipe import load_recipe
from mmkit.training.checkpoint import Progress
from mmkit.training.loop import Loop
from mmkit.training.optimizer import make_optimizer

PARTS = 3
EPOCHS = 300
SIDES = ("mmkit", "per example")
PAPERS = ("dwe", "dim")
KINDS = {
    "matrix products": ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm"),
    "dropout": ("aten::bernoulli_", "aten::random_", "aten::ge"),
    "optimizer, clipping": ("aten::_fused_adamw_", "Optimizer.step", "aten::linalg_vector_norm"),
}
"""Kinds of operations, by how their names begin; all others are the rest."""
ROOT = Path(__file__).resolve().parent.parent


class Size(NamedTuple):
    """How much there is; WikiMEL's."""

    mentions: int = 18_000
    entities: int = 17_000


class Keys(ItemSource[str, Tensor]):
    """One item a record, or one a part, known by its name."""

    drops_blanks = True

    def __init__(self, kind: str, slots: int) -> None:
        self.kind, self.slots = kind, slots

    def items(self, x: Example | Entity, missing: MissingImages) -> list[tuple[str, str]]:
        own = [i for i in x.images if i.role == "object"] if self.kind == "parts" else [None]
        keys = [(f"{self.kind} {x.id} {slot}", f"{self.kind} {x.id} {slot}") for slot in range(len(own))]
        return (keys + [(BLANK, "")] * self.slots)[: self.slots]

    def identity(self, x: Example | Entity) -> Any:
        return (x.text if isinstance(x, Example) else x.name, x.images)

    def load(self, raw: str) -> Tensor:
        return torch.tensor([zlib.crc32(raw.encode())])

    def blank(self) -> str:
        return ""

    def stack(self, loaded: Sequence[Tensor]) -> dict[str, Tensor]:
        return {"seeds": torch.stack(list(loaded))}

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind}


class Drawn(ItemEncoder):
    """Stands for CLIP: a random vector made from the item's key, because storing should cost next to nothing."""

    provides = frozenset({"pooled", "mask"})
    version = "drawn"

    def __init__(self, kind: str, slots: int = 1) -> None:
        super().__init__(Keys(kind, slots))
        self.dim = WIDTH
        self.anchor = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def build(self, special_tokens: Any = (), saved: Path | None = None) -> None: ...

    def save(self, folder: Path) -> None: ...

    def network(self, items: dict[str, Tensor]) -> dict[str, Tensor]:
        seeds = items["seeds"]
        generator = torch.Generator().manual_seed(int(seeds[0, 0]))
        return {"pooled": torch.randn(len(seeds), WIDTH, generator=generator)}

    def describe(self) -> dict[str, Any]:
        return {}


def make_data(folder: Path, size: Size) -> tuple[list[Example], KnowledgeBase]:
    """Mentions with 0 to `PARTS` parts, and entities with words to share."""
    draw = random.Random(0)
    words = [f"word{i}" for i in range(4000)]
    base = KnowledgeBase.build(
        folder / "base",
        [Entity(f"Q{i}", f"name {i}", (), " ".join(draw.sample(words, 12))) for i in range(size.entities)],
    )
    examples = []
    for i in range(size.mentions):
        parts = tuple(Image(f"{i}_{k}.jpg", "object") for k in range(draw.randint(0, PARTS)))
        example = Example.from_tokens(
            str(i),
            ["mention", str(i)],
            images=(Image(f"{i}.jpg"), *parts),
            mention=Mention(f"mention {i}"),
            entity=f"Q{draw.randrange(size.entities)}",
        )
        examples.append(example)
    return examples, base


def make_model(base: KnowledgeBase, paper: str = "dwe") -> tuple[Model, Any]:
    """The recipe's fuser and decoder over synthetic features."""
    recipe = load_recipe(ROOT / "recipes" / f"{paper}_wikimel.cfg")
    encoders = {name: Drawn(name, PARTS if name == "parts" else 1) for name in recipe.parts("model.encoders")}
    torch.manual_seed(0)
    fuser, decoder = recipe.build("model.fuser"), recipe.build("model.decoder")
    fuser.build(encoders)
    side = entity_side(recipe, encoders, decoder)
    if side is not None:
        build_entity_side(side, recipe, fuser, lambda name: None)
    decoder.build(fuser.dims, {}, base)
    return Model(encoders, fuser, decoder, {}, base, side), recipe


def train_with_mmkit(
    model: Model,
    recipe: Any,
    examples: list[Example],
    epochs: int,
    device_name: str,
    precision: str = "fp32",
) -> Iterator[float]:
    """Epochs of the loop that `mmkit train` runs; yields the last loss of each."""
    accelerator = make_accelerator(device_name)
    device, settings = accelerator.device, recipe.training
    model.to(device)
    prepare_features(model, examples, device, settings, None)
    prepare_entities(model, device, settings)
    items = model.items(examples)
    optimizer = make_optimizer(model, settings)
    precision = pick_precision(precision, device, model)
    loader = Loader(model, items, 0)
    loop = Loop(model, loader, optimizer, settings, accelerator, 0, precision, Progress())
    for update in itertools.islice(loop.epoch(), 20):  # tables are made, kernels are chosen
        _ = update
    loop.progress = Progress()
    yield 0.0
    for _ in range(epochs):
        for update in loop.epoch():
            last = update.total
        yield float(last)


def shares(training: Iterator[float]) -> dict[str, float]:
    """The share of one epoch's time that each of `KINDS` takes; the rest is reading, small operations, Python."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()
        next(training)
        seconds = time.perf_counter() - start
    found = dict.fromkeys(KINDS, 0.0)
    for event in profiled.key_averages():
        for kind, names in KINDS.items():
            if event.key.startswith(names):
                found[kind] += event.self_cpu_time_total / 1e6 / seconds
    return {**found, "the rest": 1 - sum(found.values())}


def one_side(
    side: str,
    folder: Path,
    epochs: int,
    device_name: str = "auto",
    size: Size | None = None,
    paper: str = "dwe",
    precision: str = "fp32",
) -> dict[str, Any]:
    """Time one side; on a CPU, run it in a process of its own, so that peak memory is its own."""
    size, device = size or Size(), pick_device(device_name)
    GPU_MEMORY.begin(device)
    examples, base = make_data(folder, size)
    model, recipe = make_model(base, paper)
    profiled = device.type == "cpu"
    if side == "mmkit":
        training = train_with_mmkit(model, recipe, examples, epochs + profiled, device_name, precision)
    else:
        training = train_per_example(model, recipe, examples, epochs + profiled, folder, device, precision)
    next(training)
    synchronize(device)
    start, busy = time.perf_counter(), time.process_time()
    losses = list(itertools.islice(training, epochs))
    synchronize(device)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    return {
        "side": side,
        "s an epoch": seconds / epochs,
        "CPU s an epoch": busy / epochs,
        "updates/s": epochs * -(-size.mentions // recipe.training.batch_size) / seconds,
        "minutes": seconds / 60,
        "epochs": epochs,
        "last loss": losses[-1],
        "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "GPU memory, GiB": GPU_MEMORY.peak(device) / 2**30,
        **({f"{kind}, %": 100 * share for kind, share in shares(training).items()} if profiled else {}),
    }


def run(side: str, epochs: int, paper: str, precision: str) -> dict[str, Any]:
    """One side in a process and a cache of its own."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, __file__, "--side", side, "--folder", name, "--epochs", str(epochs)]
        command += ["--paper", paper, "--precision", precision]
        environment = {**os.environ, "MMKIT_CACHE": f"{name}/cache"}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run both sides in turns, then all epochs of ours, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--all", type=int, default=EPOCHS, help="epochs of the last, whole run; 0: none")
    parser.add_argument("--paper", choices=PAPERS, default="dwe")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of both sides")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        of = {"paper": arguments.paper, "precision": arguments.precision}
        print(json.dumps(one_side(arguments.side, arguments.folder, arguments.epochs, **of)))
        return
    of = arguments.paper, arguments.precision
    turns = [{side: run(side, arguments.epochs, *of) for side in SIDES} for _ in range(arguments.turns)]
    ratios = [turn["per example"]["s an epoch"] / turn["mmkit"]["s an epoch"] for turn in turns]
    rows = [turn[side] for turn in turns for side in SIDES]
    if arguments.all:
        rows.append({**run("mmkit", arguments.all, *of), "side": f"mmkit, all {arguments.all} epochs"})
    ratio = statistics.median(ratios)
    of_cpu = statistics.median(
        turn["per example"]["CPU s an epoch"] / turn["mmkit"]["CPU s an epoch"] for turn in turns
    )
    bounds = [
        turn["per example"]["CPU s an epoch"]
        / (turn["mmkit"]["CPU s an epoch"] * turn["mmkit"]["matrix products, %"] / 100)
        for turn in turns
        if "matrix products, %" in turn["mmkit"]
    ]
    bound = statistics.median(bounds) if bounds else float("nan")
    name = f"{arguments.paper}_training" + ("_bf16" if arguments.precision == "bf16" else "")
    facts = {
        "precision": arguments.precision,
        "ratios": [round(r, 2) for r in ratios],
        "ratio": round(ratio, 2),
        "ratio_of_cpu_seconds": round(of_cpu, 2),
    }
    report(name, rows, **facts, ratio_if_only_products=round(bound, 2))
    print(
        f"mmkit trains {ratio:.1f} × as fast; if only the matrix products were left, it would be {bound:.1f} ×"
    )


if __name__ == "__main__":
    main()
