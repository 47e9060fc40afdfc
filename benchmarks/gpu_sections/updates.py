"""Updates of the papers' networks at fixed shapes, from a batch that is on the device: no reading, no pictures.

What a batch's loss is, is checked first: it is the mean of its examples' losses, each computed alone; on a GPU it is
the CPU's; in bf16 it is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gpu_sections.context import Context, environment
from gpu_sections.peak import best_of, counted, measured
from mmkit import Batch, load_recipe
from mmkit.data.types import Example
from mmkit.encoders.base import Encoder
from mmkit.inference.features import prepare_features
from mmkit.model import Item, Model, assemble
from mmkit.ops.precision import computing, products_of
from mmkit.recipe import Recipe
from mmkit.training.optimizer import make_optimizer

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
ALONE, ON_THE_DEVICE, BF16 = 1e-4, 1e-3, 0.05
"""What a loss may be off, of its value: in a batch, on a GPU, and in bf16."""
ADAM = 7 * 4
"""Bytes that Adam moves for each weight: it reads weight, gradient and two moments, and writes all but the gradient."""


@dataclass
class Training:
    """A model and one batch of it, on the device."""

    model: Model
    batch: Batch
    optimizer: Optimizer
    clip: float

    def update(self, precision: str) -> None:
        """One update, as training makes it."""
        device = self.model.device
        with computing(device, precision):
            loss = total(self.model(self.batch))
        with products_of(precision):
            loss.backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def moved(self) -> int:
        """Bytes that the optimizer moves in an update."""
        return ADAM * sum(p.numel() for group in self.optimizer.param_groups for p in group["params"])


def total(losses: dict[str, Tensor]) -> Tensor:
    """The sum of named losses."""
    return torch.stack(list(losses.values())).sum()


def checked(
    context: Context, what: str, model: Model, few: Sequence[Item], chosen: Sequence[Item], recipe: Recipe
) -> Training:
    """The model on the device, to be trained on the `chosen` items; a `few` of them are seen to have the right loss."""
    model.eval()
    model.fuser.training = True  # itself, without its parts: MoRe's reads the second view in training only
    alone = torch.stack([loss_of(model, [item]) for item in few]).mean().item()
    together = loss_of(model, few).item()
    context.check(f"{what}: loss of a batch beside its examples', relative", apart(together, alone), ALONE)
    model.to(context.device)
    if context.cuda:
        found = loss_of(model, few).item()
        context.check(f"{what}: loss beside the CPU's, relative", apart(found, together), ON_THE_DEVICE)
    found = loss_of(model, few, "bf16").item()
    context.check(f"{what}: loss in bf16, relative", apart(found, together), BF16)
    settings = recipe.training
    return Training(
        model.train(),
        model.collate(chosen).to(context.device),
        make_optimizer(model, settings),
        settings.clip or 0.0,
    )


@torch.no_grad()
def loss_of(model: Model, items: Sequence[Item], precision: str = "fp32") -> Tensor:
    """The loss of a batch."""
    with computing(model.device, precision):
        return total(model(model.collate(items).to(model.device))).float()


def apart(one: float, other: float) -> float:
    """What a number is off another, of its value."""
    return abs(one - other) / max(abs(other), 1e-12)


def timed(context: Context, what: str, training: Training, each: int = 10, **shape: Any) -> dict[str, float]:
    """A row of updates in each precision, in rounds of `each`; returns their milliseconds."""
    best = best_of(context)
    flops = counted(lambda: training.update("fp32"))
    # of reading weights and activations nothing is counted: the bound is low
    bound = 1e3 * best.seconds(flops, training.moved)
    context.fact(**{f"{what}, TFLOP an update": flops / 1e12, f"{what}, ms an update at best": bound})
    found = {}
    for precision in precisions(context):
        row = measured(
            context, best, lambda precision=precision: training.update(precision), flops, each=each
        )
        found[precision] = row["ms"]
        rate = len(training.batch.examples) / row["ms"] * 1e3
        context.row(
            what=f"{what}, an update",
            precision=precision,
            **shape,
            **row,
            **{"examples/s": rate, "% of the bound": 100 * bound / row["ms"]},
        )
    return found


def precisions(context: Context) -> tuple[str, ...]:
    """Those that are measured."""
    return ("fp32", "tf32", "bf16") if context.cuda else ("fp32",)


def subwords(training: Training, name: str = "text") -> list[int]:
    """The shape of a batch's text."""
    return list(training.batch.inputs[name]["input_ids"].shape)


def hvpnet(context: Context, folder: Path, shape: Any) -> None:
    """HVPNeT: 8 tweets of at most 32 subwords with stored features, and what 30 epochs of Twitter-2015 come to.

    The backbones are in `folder`.
    """
    from hvpnet_training import BATCH, make_tweets

    own = folder / "update"
    own.mkdir()
    tweets = make_tweets(own, replace(shape, tweets=24))
    backbones = {f"model.encoders.{name}.name": str(folder / name) for name in ("text", "vision")}
    recipe = load_recipe(RECIPES / "hvpnet_twitter15.cfg", backbones)
    model = assemble(recipe, examples=tweets)
    with environment(MMKIT_CACHE=str(own / "cache")):
        fit = sorted((i for i in model.items(tweets) if i.length <= 32), key=lambda item: -item.length)
        chosen = fit[:BATCH]
        prepare_features(model, [item.example for item in chosen], torch.device("cpu"), recipe.training, None)
    training = checked(context, "HVPNeT", model, chosen[-3:], chosen, recipe)
    found = timed(context, "HVPNeT", training, subwords=subwords(training))
    updates = 30 * (4000 // BATCH)  # Twitter-2015 has 4,000 training tweets
    context.fact(
        **{f"{updates:,} updates (30 epochs), s, {name}": updates * ms / 1e3 for name, ms in found.items()}
    )


def more(context: Context, folder: Path, preset: dict[str, int]) -> None:
    """MoRe: the 4 longest of 64 posts with their contexts, of at most 512 subwords. The backbone is in `folder`."""
    from more_training import make_posts

    recipe = load_recipe(RECIPES / "more_twitter15_text.cfg", {"model.encoders.text.name": str(folder)})
    posts = make_posts(8 if context.tiny else 64)
    model = assemble(recipe, examples=posts)
    items = sorted(model.items(posts), key=lambda item: -item.length)
    training = checked(context, "MoRe", model, items[-3:], items[: recipe.training.batch_size], recipe)
    shape = {"subwords": subwords(training), "width": preset["width"], "layers": preset["layers"]}
    timed(context, "MoRe", training, each=3, **shape)


class Given(Encoder):
    """Stands for a frozen encoder whose features are stored: what a batch holds are its features, here random ones."""

    frozen = True

    def __init__(self, dim: int, shapes: dict[str, tuple[int, ...]], **fixed: int) -> None:
        super().__init__()
        self.dim, self.shapes, self.fixed = dim, shapes, fixed
        self.provides = frozenset({*shapes, *fixed, "mask"})

    def build(self, special_tokens: Sequence[str] = (), saved: Path | None = None) -> None: ...

    def save(self, folder: Path) -> None: ...

    def collate(self, examples: Sequence[Any], views: Sequence[Any]) -> dict[str, Tensor]:
        drawn = [
            {
                name: torch.rand(shape, generator=torch.Generator().manual_seed(int(x.id)))
                for name, shape in self.shapes.items()
            }
            for x in examples
        ]
        stacked = {name: torch.stack([own[name] for own in drawn]) for name in self.shapes}
        fixed = {name: torch.full((len(examples), 1), value) for name, value in self.fixed.items()}
        return {**stacked, **fixed, "mask": torch.ones(len(examples), 1, dtype=torch.bool)}

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return inputs


def tesga(context: Context) -> None:
    """TESGA's entity table: 16 tweets of real lengths, bert-base trained too, BLIP's features given."""
    from hvpnet_training import Shape, made_up_vocabulary, make_backbones, make_tweets

    shape = Shape(40, {}, "resnet18", 32, made_up_vocabulary())
    if context.tiny:
        bert = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
        shape = Shape(8, {**bert, "vocab_size": 300}, "resnet18", 32, made_up_vocabulary(300))
    make_backbones(context.folder, shape)
    tweets = [replace(tweet, images=()) for tweet in make_tweets(context.folder, shape)]
    small = {"model.fuser.hidden": 32, "model.fuser.heads": 2} if context.tiny else {}
    text = {"model.encoders.text.name": str(context.folder / "text")}
    recipe = load_recipe(RECIPES / "tesga_twitter15.cfg", {**text, **small})
    model = tesga_model(recipe, tweets, 32 if context.tiny else 768)
    items = model.items(tweets)
    lengths = [item.length for item in items]
    # losses are sums over the padded table: only those of one length are the same alone and together
    often = max(lengths, key=lengths.count)
    few = [item for item in items if item.length == often][:3]
    chosen = items[: recipe.training.batch_size]
    training = checked(context, "TESGA", model, few, chosen, recipe)
    timed(context, "TESGA", training, subwords=subwords(training))


def tesga_model(recipe: Recipe, tweets: Sequence[Example], width: int) -> Model:
    """The recipe's network; its features of photos and texts, `width` wide and 24 tokens long, are given."""
    text = recipe.build("model.encoders.text")
    fuser, decoder = recipe.build("model.fuser"), recipe.build("model.decoder")
    labels = decoder.fit(tweets)
    text.build(decoder.special_tokens)
    encoders = {
        "text": text,
        "visual": Given(width, {"tokens": (1, 24, width)}, lengths=24),
        "similarity": Given(1, {"similarity": (1, 1)}),
    }
    torch.manual_seed(0)
    fuser.build(encoders)
    decoder.build(fuser.dims, labels)
    return Model(encoders, fuser, decoder, labels)
