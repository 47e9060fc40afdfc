"""The authors' network: with their weights, imported as a checkpoint's are, ours computes the same.

Each golden file holds features that went into their code and what came out; weights are regenerated from its salt.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mmkit.batch import Batch, Features
from mmkit.data.knowledge import KnowledgeBase
from mmkit.data.types import Entity, Example
from mmkit.decoders.entity_matcher import NOTE, EntityMatcher
from mmkit.encoders.base import Encoder
from mmkit.encoders.entity_features import StoredEntities
from mmkit.importing import load_converted
from mmkit.losses import n_pair_loss
from mmkit.model import Model
from mmkit.recipe import load_recipe
from mmkit_dim.convert import convert_state
from mmkit_dim.fuser import DynamicQuery

GOLDEN = Path(os.environ.get("MMKIT_GOLDEN", Path(__file__).resolve().parents[4] / "shared" / "golden"))
CLOSE = {"atol": 1e-4, "rtol": 0.0}
ROLES = {"mention": "mention", "text": "text", "photo": "image", "caption": "caption"}
"""Our encoders, and the golden features each gives."""


def golden_files() -> list[object]:
    files = sorted(GOLDEN.glob("dim_[0-9]*.safetensors"))
    missing = pytest.param(None, marks=pytest.mark.skip(reason="the golden files are not beside the project"))
    return [pytest.param(file, id=file.stem) for file in files] or [missing]


def reference_tensor(name: str, shape: list[int], salt: int) -> Tensor:
    """As the golden files' own `reference_weights.py` draws it: a stream seeded by the tensor's name."""
    x = np.random.RandomState((zlib.crc32(name.encode()) + salt) % 2**32).standard_normal(shape)
    x = x.astype(np.float32)
    if len(shape) == 1 and name.endswith("weight"):
        x = 1 + 0.05 * x
    elif len(shape) >= 2:
        x = x / np.sqrt(int(np.prod(shape[1:])))
    else:
        x = 0.02 * x
    return torch.from_numpy(np.asarray(x, dtype=np.float32))


def authors_state(file: Path) -> dict[str, Tensor]:
    salt = int(re.findall(r"_(\d+)$", file.stem)[0])
    shapes = json.loads((GOLDEN / "dim_state_dict.json").read_text())
    return {name: reference_tensor(name, shape, salt) for name, shape in shapes.items()}


class Given(Encoder):
    """Gives its inputs back as features."""

    provides = frozenset({"pooled", "mask"})
    dim = 512

    def build(self, special_tokens=(), saved=None): ...

    def save(self, folder): ...

    def collate(self, examples, views):
        raise NotImplementedError

    def forward(self, inputs: Features) -> Features:
        return inputs


def imported(file: Path) -> Model:
    """mmkit's model with the authors' weights."""
    encoders = {name: Given() for name in (*ROLES, "entity")}
    fuser = DynamicQuery()
    fuser.build(encoders)
    model = Model(encoders, fuser, EntityMatcher(loss="n_pair", negatives="listed"), {})
    load_converted(model, convert_state(authors_state(file)), file)
    return model.eval()


def given(golden: Features) -> dict[str, Features]:
    features = {ours: golden[theirs] for ours, theirs in ROLES.items()}
    return {name: {"pooled": x, "mask": x.any(-1)} for name, x in features.items()}


def weighted(losses: dict[str, Tensor]) -> Tensor:
    """The sum of the losses as the recipe weighs them."""
    weights = load_recipe("dim_wikimel").training.loss_weights
    return sum(weights.get(name, 1.0) * loss for name, loss in losses.items()).reshape(1)


@pytest.mark.parametrize("file", golden_files())
def test_golden_fuser(file: Path) -> None:
    golden = load_file(file)
    fuser = imported(file).fuser
    with torch.no_grad():
        query = fuser.head(fuser.add(**given(golden)))
        loss = n_pair_loss(query, golden["positive"][:, 0], golden["negative"][:, 0])
    torch.testing.assert_close(query, golden["query"], **CLOSE)
    torch.testing.assert_close(loss.reshape(1), golden["loss"], **CLOSE)


@pytest.mark.parametrize("file", golden_files())
def test_golden_model(file: Path, tmp_path: Path) -> None:
    golden, model = load_file(file), imported(file)
    link(model.decoder, golden, tmp_path)
    with torch.no_grad():
        examples = mentions(golden, "negative")
        batch = Batch(examples, given(golden), model.decoder.targets(examples, {}))
        losses = model(batch)
        predictions = model.predict(Batch(mentions(golden, "candidates"), given(golden)))
    torch.testing.assert_close(weighted(losses), golden["loss"], **CLOSE)
    assert [p.notes[NOTE]["candidates"]["rank"] for p in predictions] == golden["rank"].tolist()


def link(decoder: EntityMatcher, golden: Features, folder: Path) -> None:
    """Give the decoder a knowledge base of the golden entities, and their features."""
    kinds = ("positive", "negative", "candidates")
    ids = [f"{kind} {i} {j}" for kind in kinds for i, row in enumerate(golden[kind]) for j in range(len(row))]
    base = KnowledgeBase.build(folder / "entities", [Entity(id, id) for id in ids])
    decoder.build({"query": 512}, {}, base)
    decoder.attach(StoredEntities([torch.cat([golden[kind].flatten(0, 1) for kind in kinds])]))


def mentions(golden: Features, listed: str) -> tuple[Example, ...]:
    """The mentions with their gold entity, and as candidates the golden ones of a kind."""
    count = golden[listed].shape[1]
    return tuple(
        Example.from_tokens(
            str(i),
            ["x"],
            entity=f"positive {i} 0",
            candidates=tuple(f"{listed} {i} {j}" for j in range(count)),
        )
        for i in range(len(golden["query"]))
    )
