"""The other side of `dwe_training.py`: a loop that reads features example by example, as the authors' code does."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmkit.batch import Features
from mmkit.data.types import Example
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.items import BLANK, MissingImages
from mmkit.model import Model
from mmkit.ops.losses import clip_loss, n_pair_loss
from mmkit.ops.precision import computing
from mmkit.training.optimizer import make_optimizer
from mmkit_dwe.fuser import Fused

WIDTH = 512


class PerExample(Dataset[dict[str, Tensor]]):
    """Features item by item: mentions' from lists of tensors, entities' from an HDF5 file."""

    def __init__(self, model: Model, examples: list[Example], folder: Path) -> None:
        self.features: dict[str, list[Tensor]] = {}
        for name, encoder in model.reading.items():
            assert isinstance(encoder, ItemEncoder)
            source, missing = encoder.source, MissingImages()
            kept = ([r for k, r in source.items(x, missing) if k != BLANK] or [""] for x in examples)
            rows = [encoder.network(source.stack([source.load(r) for r in raw]))["pooled"] for raw in kept]
            self.features[name] = rows
        with h5py.File(folder / "entities.h5", "w") as file:
            drawn = np.random.default_rng(0).standard_normal((len(model.entities), WIDTH), dtype=np.float32)
            file["features"] = drawn
        self.table = h5py.File(folder / "entities.h5")["features"]
        self.gold = [int(str(x.entity)[1:]) for x in examples]
        words = [entity.description.split()[:5] for entity in model.entities]
        self.words = words
        self.sharing: dict[str, list[int]] = {}
        for row, own in enumerate(words):
            for word in own:
                self.sharing.setdefault(word, []).append(row)

    def __len__(self) -> int:
        return len(self.gold)

    def _negative(self, gold: int) -> int:
        while True:
            if random.random() > 0.95:
                row = random.randrange(len(self.words))
            else:
                row = random.choice(self.sharing[random.choice(self.words[gold])])
            if row != gold:
                return row

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        item = {name: rows[i] for name, rows in self.features.items()}
        item["positive"] = torch.tensor(np.array([self.table[self.gold[i]]]))
        item["negative"] = torch.tensor(np.array([self.table[self._negative(self.gold[i])]]))
        return item


class Attention(torch.nn.Module):
    """torch's multi-head attention over all vectors, as the authors call it, in place of ours."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.attention = ours.attention

    def forward(self, query: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.attention(query[:, None], others, others)[0][:, 0]


def with_torchs_dropout(network: torch.nn.Module) -> None:
    """Give a network the dropout that the authors' has."""
    for name, child in list(network.named_children()):
        if isinstance(child, torch.nn.Dropout):
            setattr(network, name, torch.nn.Dropout(child.p))


def fuse_apart(fuser: Any, mention: Tensor, text: Tensor, photo: Tensor, parts: Tensor) -> Any:
    """DWE's fusion with each layer called for each input alone, and all parts attended to, as the authors do it."""
    m, x, v = (
        fuser.project_text(mention[:, 0]),
        fuser.project_text(text[:, 0]),
        fuser.project_image(photo[:, 0]),
    )
    by_sight = fuser.enhance(m, fuser.project_image(parts))
    by_text = fuser.enhance(m, x.unsqueeze(1))
    return Fused(fuser.head(m + by_sight + by_text), (v, x), (by_sight, by_text))


def stacked(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch, its parts padded one row at a time."""
    longest = max(len(item.get("parts", ())) for item in items)
    for item in items if longest else ():
        while len(item["parts"]) < longest:
            item["parts"] = torch.nn.functional.pad(item["parts"], (0, 0, 0, 1))
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def train_per_example(
    model: Model,
    recipe: Any,
    examples: list[Example],
    epochs: int,
    folder: Path,
    device: torch.device,
    precision: str = "fp32",
) -> Iterator[float]:
    """The same layers and losses, its features read example by example, nothing masked."""
    model.to(device).train()
    data = PerExample(model, examples, folder)
    optimizer = make_optimizer(model, recipe.training)
    fuser: Any = model.fuser
    dwe = hasattr(fuser, "enhance")
    for network in (fuser.project_text, fuser.head, *([fuser.project_image] if dwe else [])):
        with_torchs_dropout(network)
    if dwe:
        fuser.enhance = Attention(fuser.enhance)
    loader = DataLoader(data, recipe.training.batch_size, shuffle=True, collate_fn=stacked)

    def losses(features: dict[str, Features], positive: Tensor, negative: Tensor) -> Tensor:
        if not dwe:
            query = fuser.head(
                fuser.add(*(features[name] for name in ("mention", "text", "photo", "caption")))
            )
            return n_pair_loss(query, positive, negative)
        fused = fuse_apart(
            fuser, *(features[name]["pooled"] for name in ("mention", "text", "photo", "parts"))
        )
        loss = 10 * n_pair_loss(fused.query, positive, negative)
        return loss + clip_loss(*fused.coarse, fuser.log_scale) + clip_loss(*fused.fine, fuser.log_scale)

    def update(batch: dict[str, Tensor]) -> Tensor:
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        features = {
            name: {
                "pooled": batch[name],
                "mask": torch.ones(batch[name].shape[:2], dtype=torch.bool, device=device),
            }
            for name in model.reading
        }
        with computing(device, precision):
            loss = losses(features, batch["positive"][:, 0], batch["negative"][:, 0])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    for batch in itertools.islice(loader, 20):
        update(batch)
    yield 0.0
    for _ in range(epochs):
        for batch in loader:
            last = update(batch).item()  # as the authors' code, which adds up the loss of every step
        yield last
