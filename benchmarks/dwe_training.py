"""DWE's and DIM's training at WikiMEL's size, from stored features: mmkit beside a loop that reads them per example.

    python benchmarks/dwe_training.py [--paper dwe]

There are 18,000 mentions and 17,000 entities, features are 512 wide, and a batch has 128 mentions (64 for DIM). Images
and texts are not real: this measures how features come to the network, and both sides train the same layers.

- `mmkit` runs the recipe's own loop. A batch's features are read from tables, and its negatives are chosen on the
  device.
- `per example` does what the authors' code does. Each item of the dataset reads its own features (an entity's from an
  HDF5 file, a mention's from a list) and chooses its negative in Python. Batches are padded and stacked row by row.

Each side runs in float32, as the authors do, and in bf16 (mmkit: in the precision that `auto` picks). The first ratio
is what a user of `auto` gets against the authors' way, the others are like against like.

Each side has its own process, with one thread, and they take turns of an epoch: a ratio is the median of the turns'
ratios. Then an epoch of each is profiled: which share of an update are matrix products, which dropout, the optimizer,
and all the rest. `products alone` are the matrix products of one of our updates, made again with the same operands and
nothing between them. No reading, and no fusion of what is between them, makes an update shorter than that.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import GPU_MEMORY, PRODUCTS, Products, report, synchronize
from dwe_per_example import WIDTH, train_per_example
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from turns import Trainer, tell, turns_asked_for

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
SIDES = (("mmkit", "auto"), ("mmkit", "fp32"), ("per example", "bf16"), ("per example", "fp32"))
"""What is measured: a side and its precision. The last is the authors' way."""
RATIOS = {"ratio_auto": (0, 3), "ratio": (1, 3), "ratio_bf16": (0, 2)}
"""Of which sides: the one whose time is divided by, and the other."""
PAPERS = ("dwe", "dim")
KINDS = {
    "matrix products": PRODUCTS,
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
    products: Products | None = None,
) -> Iterator[float]:
    """Epochs of the loop that `mmkit train` runs; yields the last loss of each.

    `products` gets those of one update before.
    """
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
    updates = loop.epoch()
    for _ in itertools.islice(updates, 20):  # tables are made, kernels are chosen
        pass
    if products is not None:
        with products:
            next(updates, None)
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


def begun(
    side: str,
    folder: Path,
    epochs: int,
    device_name: str,
    size: Size,
    paper: str,
    precision: str,
    products: Products | None = None,
) -> tuple[Iterator[float], int, str]:
    """A side that made its first updates: its training, updates of an epoch, and the precision that was picked."""
    device = pick_device(device_name)
    GPU_MEMORY.begin(device)
    examples, base = make_data(folder, size)
    model, recipe = make_model(base, paper)
    precision = pick_precision(precision, device, model)
    if side == "mmkit":
        training = train_with_mmkit(model, recipe, examples, epochs, device_name, precision, products)
    else:
        training = train_per_example(model, recipe, examples, epochs, folder, device, precision)
    next(training)
    synchronize(device)
    return training, -(-size.mentions // recipe.training.batch_size), precision


def timed(training: Iterator[float], epochs: int, updates: int, device: torch.device) -> dict[str, Any]:
    """Times of some epochs with so many updates each."""
    start, busy = time.perf_counter(), time.process_time()
    losses = list(itertools.islice(training, epochs))
    synchronize(device)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    return {
        "s an epoch": seconds / epochs,
        "CPU ms an update": 1e3 * busy / epochs / updates,
        "updates/s": epochs * updates / seconds,
        "last loss": losses[-1],
    }


def one_side(
    side: str,
    folder: Path,
    epochs: int,
    device_name: str = "auto",
    size: Size | None = None,
    paper: str = "dwe",
    precision: str = "fp32",
) -> dict[str, Any]:
    """Train a side, and time some epochs together."""
    device = pick_device(device_name)
    training, updates, _ = begun(side, folder, epochs, device_name, size or Size(), paper, precision)
    times = timed(training, epochs, updates, device)
    return {"side": side, **times, "epochs": epochs, "GPU memory, GiB": GPU_MEMORY.peak(device) / 2**30}


def serve(side: str, paper: str, precision: str, folder: Path, size: Size) -> None:
    """Train one side in this process, an epoch for every line of the input, and tell what it took; then profile one."""
    device, products = pick_device("auto"), Products()
    training, updates, picked = begun(side, folder, 10**6, "auto", size, paper, precision, products)
    tell(precision=picked)
    for asked in turns_asked_for():
        if asked:
            tell(**timed(training, 1, updates, device))
            continue
        told: dict[str, Any] = {
            "peak memory, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "GPU memory, GiB": GPU_MEMORY.peak(device) / 2**30,
        }
        if device.type == "cpu":
            told["products alone, ms"] = 1e3 * products.seconds() if products.made else None
            told |= {f"{kind}, %": 100 * share for kind, share in shares(training).items()}
        tell(**told)


def compare(paper: str, size: Size, turns: int, every: int) -> None:
    """Run all sides of a paper in turns, then `every` epoch of ours unless that is 0, and report."""
    with tempfile.TemporaryDirectory() as name:

        def began(side: str, precision: str, of: str) -> Trainer:
            folder = Path(name) / of
            folder.mkdir()
            asked = {"side": side, "precision": precision, "paper": paper, "folder": folder, **size._asdict()}
            command = [sys.executable, __file__, *(f"--{key}={value}" for key, value in asked.items())]
            return Trainer(command, {"MMKIT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"})

        sides = [began(*side, str(number)) for number, side in enumerate(SIDES)]
        for _ in range(turns):
            for side in sides:
                side.turn()
        rows = [{"side": name, **side.end()} for (name, _), side in zip(SIDES, sides, strict=True)]
        facts: dict[str, Any] = {"turns": turns}
        for key, (ours, theirs) in RATIOS.items():
            for of, kind in (("s an epoch", ""), ("CPU ms an update", "_of_cpu_seconds")):
                pairs = zip(sides[theirs].turns, sides[ours].turns, strict=True)
                facts[key + kind] = round(statistics.median(one[of] / other[of] for one, other in pairs), 2)
        for key in ("ratio_auto", "ratio") if rows[0].get("products alone, ms") else ():
            ours, theirs = RATIOS[key]
            least = rows[ours]["products alone, ms"]
            facts[f"{key}_if_only_products"] = round(rows[theirs]["CPU ms an update"] / least, 2)
        if every:
            whole = began(*SIDES[0], "all")
            seconds = sum(whole.turn()["s an epoch"] for _ in range(every))
            facts[f"minutes of {every} epochs"] = round(seconds / 60, 2)
            whole.end()
    report(f"{paper}_training", rows, **facts)
    picked = rows[0]["precision"]
    said = (
        f"{paper}: mmkit in {picked} trains {facts['ratio_auto']:.2f} × as fast as the authors' way in float32, "
        f"{facts['ratio']:.2f} × with both in float32, {facts['ratio_bf16']:.2f} × with both in bf16"
    )
    if "ratio_if_only_products" in facts:
        said += (
            f"; if only its matrix products were left: {facts['ratio_auto_if_only_products']:.2f} × in {picked}, "
            f"{facts['ratio_if_only_products']:.2f} × in float32"
        )
    print(said)


def main() -> None:
    """Compare for each paper."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, help="turns of an epoch of each side")
    parser.add_argument(
        "--all", type=int, default=0, help=f"then so many epochs in one run; the paper: {EPOCHS}"
    )
    parser.add_argument("--paper", choices=PAPERS, help="only this one")
    parser.add_argument("--mentions", type=int, default=Size().mentions)
    parser.add_argument("--entities", type=int, default=Size().entities)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = Size(arguments.mentions, arguments.entities)
    if arguments.side:
        serve(arguments.side, arguments.paper, arguments.precision, arguments.folder, size)
        return
    for paper in [arguments.paper] if arguments.paper else PAPERS:
        compare(paper, size, arguments.turns, arguments.all)


if __name__ == "__main__":
    main()
